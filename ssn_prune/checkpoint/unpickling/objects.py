"""Names, calls and objects: what their instructions do to the stack."""

from __future__ import annotations

from ssn_prune.checkpoint.unpickling.building import (
    call,
    complete,
    create,
    name,
    require_explained,
)
from ssn_prune.checkpoint.unpickling.errors import PickleError
from ssn_prune.checkpoint.unpickling.machine import Machine


def name_global(machine: Machine) -> None:
    """A name from two lines."""
    module = machine.source.name()
    machine.push(name(machine, module, machine.source.name()))


def stack_global(machine: Machine) -> None:
    """A name from two texts on the stack."""
    member, module = machine.pop(), machine.pop()
    machine.push(name(machine, module, member))


def reduce(machine: Machine) -> None:
    """A call."""
    arguments, function = machine.pop(), machine.pop()
    machine.push(call(machine, function, arguments))


def build(machine: Machine) -> None:
    """The state of an object."""
    state = machine.pop()
    complete(machine, machine.top(), state)


def inst(machine: Machine) -> None:
    """A new object of a class from two lines."""
    module = machine.source.name()
    cls = name(machine, module, machine.source.name())
    arguments = tuple(machine.pop_to_mark())
    machine.push(create(machine, cls, arguments))


def obj(machine: Machine) -> None:
    """A new object of the class above the mark."""
    items = machine.pop_to_mark()
    if not items:
        raise PickleError("a new object without its class")
    machine.push(create(machine, items[0], tuple(items[1:])))


def new_obj(machine: Machine) -> None:
    """A new object, from its class and arguments."""
    arguments, cls = machine.pop(), machine.pop()
    machine.push(create(machine, cls, arguments))


def new_obj_ex(machine: Machine) -> None:
    """The same with keyword arguments, which are not kept."""
    machine.pop()  # keyword arguments
    new_obj(machine)


def stop(machine: Machine) -> None:
    """The end: one value is left, and every unknown name is explained."""
    require_explained(machine)
    machine.require(1)
    if machine.below or len(machine.stack) > 1:
        raise PickleError("the pickle ends with values left over")
