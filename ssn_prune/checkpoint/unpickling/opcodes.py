"""The instructions of pickle protocols 0 to 5: one row each, as in :mod:`pickletools`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssn_prune.checkpoint.unpickling.building import (
    call,
    complete,
    create,
    name,
    require_explained,
)
from ssn_prune.checkpoint.unpickling.errors import PickleError
from ssn_prune.checkpoint.unpickling.machine import MEMO_COST, SLOT_COST, Machine
from ssn_prune.checkpoint.unpickling.persistent_ids import parsed, resolve
from ssn_prune.checkpoint.unpickling.python2_text import text_or_bytes, unquoted
from ssn_prune.checkpoint.unpickling.source import printable
from ssn_prune.checkpoint.unpickling.values import Inert, Name, Pairs

_NEWEST = 5


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        name: As in :mod:`pickletools`.
        cost: Bytes that its result takes, besides those of texts and items.
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


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def run(machine: Machine) -> None:
        machine.require(count)
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return run


def _unicode(machine: Machine) -> None:
    try:
        text = machine.source.line().decode("raw-unicode-escape")
    except UnicodeDecodeError:
        raise PickleError("text with an escape that is none") from None
    machine.push_sized(printable(text))


def _tuple(machine: Machine) -> None:
    items = machine.pop_to_mark()
    machine.charge(SLOT_COST * len(items))
    machine.push(tuple(items))


def _list(machine: Machine) -> None:
    machine.push(machine.pop_to_mark())


def _dict(machine: Machine) -> None:
    items = machine.pop_to_mark()
    pairs = Pairs()
    machine.push(pairs)
    _extend(machine, items)


def _frozen_set(machine: Machine) -> None:
    machine.pop_to_mark()
    machine.push(Inert("builtins.frozenset"))


def _append(machine: Machine) -> None:
    item = machine.pop()
    target = machine.top()
    if isinstance(target, list):
        target.append(item)
    else:
        _require_inert(target)


def _appends(machine: Machine) -> None:
    items = machine.pop_to_mark()
    machine.charge(SLOT_COST * len(items))
    target = machine.top()
    if isinstance(target, list):
        target.extend(items)
    else:
        _require_inert(target)


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    target = machine.top()
    if isinstance(target, Pairs):
        target.keys.append(key)
        target.values.append(value)
    else:
        _require_inert(target)


def _set_items(machine: Machine) -> None:
    _extend(machine, machine.pop_to_mark())


def _extend(machine: Machine, items: list[object]) -> None:
    target = machine.top()
    if len(items) % 2:
        raise PickleError("a key without its value")
    machine.charge(SLOT_COST * len(items))
    if isinstance(target, Pairs):
        target.keys.extend(items[::2])
        target.values.extend(items[1::2])
    else:
        _require_inert(target)


def _add_items(machine: Machine) -> None:
    machine.pop_to_mark()
    _require_inert(machine.top())


def _require_inert(target: object) -> None:
    """Metadata that is left unread takes any items, and keeps none."""
    if not isinstance(target, Inert) or isinstance(target, Name):
        raise PickleError("items for something that takes none")


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.pop()
    else:
        machine.pop_to_mark()


def _pop_mark(machine: Machine) -> None:
    machine.pop_to_mark()


def _global(machine: Machine) -> None:
    module = machine.source.name()
    machine.push(name(machine, module, machine.source.name()))


def _stack_global(machine: Machine) -> None:
    member, module = machine.pop(), machine.pop()
    machine.push(name(machine, module, member))


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.push(call(machine, function, arguments))


def _build(machine: Machine) -> None:
    state = machine.pop()
    complete(machine, machine.top(), state)


def _inst(machine: Machine) -> None:
    module = machine.source.name()
    cls = name(machine, module, machine.source.name())
    arguments = tuple(machine.pop_to_mark())
    machine.push(create(machine, cls, arguments))


def _obj(machine: Machine) -> None:
    items = machine.pop_to_mark()
    if not items:
        raise PickleError("a new object without its class")
    machine.push(create(machine, items[0], tuple(items[1:])))


def _new_obj(machine: Machine) -> None:
    arguments, cls = machine.pop(), machine.pop()
    machine.push(create(machine, cls, arguments))


def _new_obj_ex(machine: Machine) -> None:
    machine.pop()  # keyword arguments
    _new_obj(machine)


def _stop(machine: Machine) -> None:
    require_explained(machine)
    machine.require(1)
    if machine.below or len(machine.stack) > 1:
        raise PickleError("the pickle ends with values left over")


_EXTENSION = _refuse("an extension code, which stands for a global that only its writer knows")
_BUFFER = _refuse("a buffer outside of the pickle")

INSTRUCTIONS: dict[int, Instruction] = {
    ord(code): Instruction(label, cost, run)
    for code, label, cost, run in (
        ("\x80", "PROTO", 16, _protocol),
        ("\x95", "FRAME", 16, lambda m: m.source.skip(8)),
        (".", "STOP", 0, _stop),
        # Numbers
        ("I", "INT", 40, lambda m: m.push(m.source.boolean_or_decimal())),
        ("J", "BININT", 40, lambda m: m.push(m.source.signed(4))),
        ("K", "BININT1", 16, lambda m: m.push(m.source.unsigned(1))),
        ("M", "BININT2", 40, lambda m: m.push(m.source.unsigned(2))),
        ("L", "LONG", 300, lambda m: m.push(m.source.decimal())),
        ("\x8a", "LONG1", 300, lambda m: m.push(m.source.long(1))),
        ("\x8b", "LONG4", 300, lambda m: m.push(m.source.long(4))),
        ("F", "FLOAT", 32, lambda m: m.push(m.source.real())),
        ("G", "BINFLOAT", 32, lambda m: m.push(m.source.double())),
        # Text and bytes
        ("S", "STRING", 16, lambda m: m.push_sized(unquoted(m.source.line()))),
        ("T", "BINSTRING", 16, lambda m: m.push_sized(text_or_bytes(m.source.sized(4)))),
        ("U", "SHORT_BINSTRING", 16, lambda m: m.push_sized(text_or_bytes(m.source.sized(1)))),
        ("V", "UNICODE", 16, _unicode),
        ("\x8c", "SHORT_BINUNICODE", 16, lambda m: m.push_sized(m.source.text(1))),
        ("X", "BINUNICODE", 16, lambda m: m.push_sized(m.source.text(4))),
        ("\x8d", "BINUNICODE8", 16, lambda m: m.push_sized(m.source.text(8))),
        ("C", "SHORT_BINBYTES", 16, lambda m: m.push_sized(m.source.sized(1))),
        ("B", "BINBYTES", 16, lambda m: m.push_sized(m.source.sized(4))),
        ("\x8e", "BINBYTES8", 16, lambda m: m.push_sized(m.source.sized(8))),
        ("\x96", "BYTEARRAY8", 16, lambda m: m.push_sized(m.source.sized(8))),
        # Constants
        ("N", "NONE", 16, _constant(None)),
        ("\x88", "NEWTRUE", 16, _constant(True)),
        ("\x89", "NEWFALSE", 16, _constant(False)),
        # Tuples, lists, mappings, sets
        ("(", "MARK", 80, Machine.mark),
        (")", "EMPTY_TUPLE", 16, _constant(())),
        ("\x85", "TUPLE1", 64, _tuple_of(1)),
        ("\x86", "TUPLE2", 72, _tuple_of(2)),
        ("\x87", "TUPLE3", 80, _tuple_of(3)),
        ("t", "TUPLE", 64, _tuple),
        ("]", "EMPTY_LIST", 80, lambda m: m.push([])),
        ("l", "LIST", 80, _list),
        ("a", "APPEND", 16, _append),
        ("e", "APPENDS", 32, _appends),
        ("}", "EMPTY_DICT", 200, lambda m: m.push(Pairs())),
        ("d", "DICT", 200, _dict),
        ("s", "SETITEM", 32, _set_item),
        ("u", "SETITEMS", 32, _set_items),
        ("\x8f", "EMPTY_SET", 64, lambda m: m.push(Inert("builtins.set"))),
        ("\x90", "ADDITEMS", 16, _add_items),
        ("\x91", "FROZENSET", 64, _frozen_set),
        # The stack and the memo
        ("0", "POP", 16, _pop),
        ("1", "POP_MARK", 16, _pop_mark),
        ("2", "DUP", 16, lambda m: m.push(m.top())),
        ("p", "PUT", MEMO_COST, lambda m: m.remember(m.source.decimal())),
        ("q", "BINPUT", MEMO_COST, lambda m: m.remember(m.source.unsigned(1))),
        ("r", "LONG_BINPUT", MEMO_COST, lambda m: m.remember(m.source.unsigned(4))),
        ("\x94", "MEMOIZE", MEMO_COST, Machine.memoize),
        ("g", "GET", 16, lambda m: m.recall(m.source.decimal())),
        ("h", "BINGET", 16, lambda m: m.recall(m.source.unsigned(1))),
        ("j", "LONG_BINGET", 16, lambda m: m.recall(m.source.unsigned(4))),
        # Names and objects
        ("c", "GLOBAL", 200, _global),
        ("\x93", "STACK_GLOBAL", 200, _stack_global),
        ("R", "REDUCE", 16, _reduce),
        ("b", "BUILD", 16, _build),
        ("i", "INST", 200, _inst),
        ("o", "OBJ", 200, _obj),
        ("\x81", "NEWOBJ", 200, _new_obj),
        ("\x92", "NEWOBJ_EX", 200, _new_obj_ex),
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
