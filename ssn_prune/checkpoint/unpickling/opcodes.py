"""The instructions of pickle protocols 0 to 5: one row each, as in :mod:`pickletools`."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass

from ssn_prune.checkpoint.unpickling import containers, objects
from ssn_prune.checkpoint.unpickling.errors import PickleError
from ssn_prune.checkpoint.unpickling.machine import MEMO_COST, Machine
from ssn_prune.checkpoint.unpickling.persistent_ids import parsed, resolve
from ssn_prune.checkpoint.unpickling.python2_text import text_or_bytes, unquoted
from ssn_prune.checkpoint.unpickling.values import Inert, Pairs
from ssn_prune.text import without_surrogates

_NEWEST = 5


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        name: As in :mod:`pickletools`.
        cost: Bytes that its result takes, besides texts, items and what any instruction pays.
        run: Reads its arguments and does it.
    """

    name: str
    cost: int
    run: Callable[[Machine], None]


def _protocol(machine: Machine) -> None:
    version = machine.source.unsigned(1)
    if version > _NEWEST:
        raise PickleError(f"pickle protocol {version}, which is newer than {_NEWEST}")


def _refuse(problem: str) -> Callable[[Machine], None]:
    def run(_: Machine) -> None:
        raise PickleError(problem)

    return run


def _constant(value: object) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value)


def _unicode(machine: Machine) -> None:
    try:
        # Not through the codec's name, which imports a module when it is first used.
        text, _ = codecs.raw_unicode_escape_decode(machine.source.line())
    except UnicodeDecodeError:
        raise PickleError("text with an escape that is none") from None
    machine.push_sized(without_surrogates(text))


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.pop()
    else:
        machine.pop_to_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_to_mark()


def _text(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push_sized(machine.source.text(width))


def _bytes(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push_sized(machine.source.sized(width))


def _byte_string(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.push_sized(text_or_bytes(machine.source.sized(width)))


_EXTENSION = _refuse("an extension code, which stands for a global that only its writer knows")
_BUFFER = _refuse("a buffer outside of the pickle")

INSTRUCTIONS: dict[bytes, Instruction] = {
    code.encode("latin-1"): Instruction(label, cost, run)
    for code, label, cost, run in (
        ("\x80", "PROTO", 0, _protocol),
        ("\x95", "FRAME", 0, lambda m: m.source.skip(8)),
        (".", "STOP", 0, objects.stop),
        # Numbers
        ("I", "INT", 0, lambda m: m.push(m.source.boolean_or_decimal())),
        ("J", "BININT", 0, lambda m: m.push(m.source.signed(4))),
        ("K", "BININT1", 0, lambda m: m.push(m.source.unsigned(1))),
        ("M", "BININT2", 0, lambda m: m.push(m.source.unsigned(2))),
        ("L", "LONG", 300, lambda m: m.push(m.source.decimal())),
        ("\x8a", "LONG1", 300, lambda m: m.push(m.source.long(1))),
        ("\x8b", "LONG4", 300, lambda m: m.push(m.source.long(4))),
        ("F", "FLOAT", 0, lambda m: m.push(m.source.real())),
        ("G", "BINFLOAT", 0, lambda m: m.push(m.source.double())),
        # Text and bytes
        ("S", "STRING", 0, lambda m: m.push_sized(unquoted(m.source.line()))),
        ("T", "BINSTRING", 0, _byte_string(4)),
        ("U", "SHORT_BINSTRING", 0, _byte_string(1)),
        ("V", "UNICODE", 0, _unicode),
        ("\x8c", "SHORT_BINUNICODE", 0, _text(1)),
        ("X", "BINUNICODE", 0, _text(4)),
        ("\x8d", "BINUNICODE8", 0, _text(8)),
        ("C", "SHORT_BINBYTES", 0, _bytes(1)),
        ("B", "BINBYTES", 0, _bytes(4)),
        ("\x8e", "BINBYTES8", 0, _bytes(8)),
        ("\x96", "BYTEARRAY8", 0, _bytes(8)),
        # Constants
        ("N", "NONE", 0, _constant(None)),
        ("\x88", "NEWTRUE", 0, _constant(True)),
        ("\x89", "NEWFALSE", 0, _constant(False)),
        # Tuples, lists, mappings, sets
        ("(", "MARK", 16, Machine.mark),
        (")", "EMPTY_TUPLE", 0, _constant(())),
        ("\x85", "TUPLE1", 8, containers.tuple_of(1)),
        ("\x86", "TUPLE2", 16, containers.tuple_of(2)),
        ("\x87", "TUPLE3", 24, containers.tuple_of(3)),
        ("t", "TUPLE", 0, containers.make_tuple),
        ("]", "EMPTY_LIST", 56, lambda m: m.push([])),
        ("l", "LIST", 56, containers.make_list),
        ("a", "APPEND", 0, containers.append),
        ("e", "APPENDS", 0, containers.appends),
        ("}", "EMPTY_DICT", 176, lambda m: m.push(Pairs())),
        ("d", "DICT", 176, containers.make_dict),
        ("s", "SETITEM", 0, containers.set_item),
        ("u", "SETITEMS", 0, containers.set_items),
        ("\x8f", "EMPTY_SET", 0, _constant(Inert("builtins.set"))),
        ("\x90", "ADDITEMS", 0, containers.add_items),
        ("\x91", "FROZENSET", 0, containers.frozen_set),
        # The stack and the memo
        ("0", "POP", 0, _pop),
        ("1", "POP_MARK", 0, _pop_mark),
        ("2", "DUP", 0, lambda m: m.push(m.top())),
        ("p", "PUT", MEMO_COST, lambda m: m.remember(m.source.decimal())),
        ("q", "BINPUT", MEMO_COST, lambda m: m.remember(m.source.unsigned(1))),
        ("r", "LONG_BINPUT", MEMO_COST, lambda m: m.remember(m.source.unsigned(4))),
        ("\x94", "MEMOIZE", MEMO_COST, Machine.memoize),
        ("g", "GET", 0, lambda m: m.recall(m.source.decimal())),
        ("h", "BINGET", 0, lambda m: m.recall(m.source.unsigned(1))),
        ("j", "LONG_BINGET", 0, lambda m: m.recall(m.source.unsigned(4))),
        # Names and objects
        ("c", "GLOBAL", 200, objects.name_global),
        ("\x93", "STACK_GLOBAL", 200, objects.stack_global),
        ("R", "REDUCE", 0, objects.reduce),
        ("b", "BUILD", 0, objects.build),
        ("i", "INST", 200, objects.inst),
        ("o", "OBJ", 200, objects.obj),
        ("\x81", "NEWOBJ", 200, objects.new_obj),
        ("\x92", "NEWOBJ_EX", 200, objects.new_obj_ex),
        ("P", "PERSID", 400, lambda m: m.push(resolve(m, parsed(m.source.line())))),
        ("Q", "BINPERSID", 400, lambda m: m.push(resolve(m, m.pop()))),
        # Refused
        ("\x82", "EXT1", 0, _EXTENSION),
        ("\x83", "EXT2", 0, _EXTENSION),
        ("\x84", "EXT4", 0, _EXTENSION),
        ("\x97", "NEXT_BUFFER", 0, _BUFFER),
        ("\x98", "READONLY_BUFFER", 0, _BUFFER),
    )
}
