"""Tuples, lists, mappings and sets: what their instructions do to the stack."""

from __future__ import annotations

from collections.abc import Callable

from ssn_prune.checkpoint.unpickling.errors import PickleError
from ssn_prune.checkpoint.unpickling.machine import SLOT_COST, Machine
from ssn_prune.checkpoint.unpickling.values import Inert, Name, Pairs


def tuple_of(count: int) -> Callable[[Machine], None]:
    """A tuple of the topmost ``count`` values."""

    def run(machine: Machine) -> None:
        machine.require(count)
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return run


def make_tuple(machine: Machine) -> None:
    """A tuple of everything above the mark."""
    items = machine.pop_to_mark()
    machine.charge(SLOT_COST * len(items))
    machine.push(tuple(items))


def make_list(machine: Machine) -> None:
    """A list of everything above the mark."""
    machine.push(machine.pop_to_mark())


def make_dict(machine: Machine) -> None:
    """A mapping of the keys and values above the mark."""
    items = machine.pop_to_mark()
    pairs = Pairs()
    machine.push(pairs)
    _extend(machine, items)


def frozen_set(machine: Machine) -> None:
    """A set of everything above the mark, which is not kept."""
    machine.pop_to_mark()
    machine.push(Inert("builtins.frozenset"))


def append(machine: Machine) -> None:
    """One more item of a list."""
    item = machine.pop()
    target = machine.top()
    if isinstance(target, list):
        target.append(item)
    else:
        _require_inert(target)


def appends(machine: Machine) -> None:
    """More items of a list."""
    items = machine.pop_to_mark()
    machine.charge(SLOT_COST * len(items))
    target = machine.top()
    if isinstance(target, list):
        target.extend(items)
    else:
        _require_inert(target)


def set_item(machine: Machine) -> None:
    """One more pair of a mapping."""
    value, key = machine.pop(), machine.pop()
    target = machine.top()
    if isinstance(target, Pairs):
        target.keys.append(key)
        target.values.append(value)
    else:
        _require_inert(target)


def set_items(machine: Machine) -> None:
    """More pairs of a mapping."""
    _extend(machine, machine.pop_to_mark())


def add_items(machine: Machine) -> None:
    """Items of a set, which are not kept."""
    machine.pop_to_mark()
    _require_inert(machine.top())


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


def _require_inert(target: object) -> None:
    """Accept items only for metadata that is left unread; it keeps none of them."""
    if not isinstance(target, Inert) or isinstance(target, Name):
        raise PickleError("items for something that takes none")
