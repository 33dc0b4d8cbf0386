"""Interprets the instructions of a pickle into plain values; no code of the file is executed."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from ssn_prune.checkpoint.unpickling.building import unsafe_name
from ssn_prune.checkpoint.unpickling.errors import (
    PickleError,
    UnsafeGlobalError,
    WholeModuleError,
)
from ssn_prune.checkpoint.unpickling.machine import LEAST_COST, SLOT_COST, FindStorage, Machine
from ssn_prune.checkpoint.unpickling.opcodes import INSTRUCTIONS, Instruction
from ssn_prune.checkpoint.unpickling.source import Source
from ssn_prune.checkpoint.unpickling.walk import walk

_MEMORY = 128 << 20
_STOP = INSTRUCTIONS[b"."]


@dataclass(frozen=True)
class Unpickled:
    """What a pickle holds.

    Attributes:
        value: None, bool, int, float, complex, str, bytes, list, tuple,
            :class:`~ssn_prune.checkpoint.unpickling.values.Pairs` of these, and as leaves the
            stand-ins of :mod:`ssn_prune.checkpoint.unpickling.values` and
            :mod:`ssn_prune.checkpoint.stored`. Parts may be shared, and may contain themselves.
        end: Number of bytes of the pickle; other bytes may follow.
    """

    value: object
    end: int


def unpickle(
    data: bytes | BinaryIO, find_storage: FindStorage, *, memory: int = _MEMORY
) -> Unpickled:
    """Read one pickle of protocol 0 to 5.

    Args:
        data: Its bytes, or a stream that begins with them.
        find_storage: For a persistent id, returns the storage and the name of its dtype, None if it
            has none. An id is ``("storage", Name, key, location, count)``, in legacy files with a
            view of the storage at the end; only its first two items are checked before.
        memory: Approximate number of bytes that the result may take besides its tensors.

    Raises:
        PickleError: It is not a pickle, ends too early, is too large, or asks for a global that is
            neither a tensor's nor known metadata. Nothing is imported or executed.
    """
    source = Source(BytesIO(data) if isinstance(data, bytes) else data)
    machine = Machine(source, find_storage, memory)
    start, instruction = 0, None
    try:
        while instruction is not _STOP:
            start = source.position
            code = source.take(1)
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise PickleError(f"no instruction has the code {code[0]:#04x}")
            machine.left -= LEAST_COST + instruction.cost
            if machine.left < 0:
                machine.charge(0)
            instruction.run(machine)
    except PickleError as error:
        raise _placed(error, start, instruction, machine) from error.__cause__
    value = machine.pop()
    for _ in walk(value, memory // SLOT_COST):  # refuses what is nested too deeply
        pass
    return Unpickled(value, source.position)


def _placed(
    error: PickleError, start: int, instruction: Instruction | None, machine: Machine
) -> PickleError:
    """The error with its place; a name that could execute code matters more than other faults."""
    unsafe = unsafe_name(machine)
    if unsafe is not None and not isinstance(error, UnsafeGlobalError | WholeModuleError):
        error = UnsafeGlobalError(unsafe)
    error.place(start, instruction.name if instruction else "")
    return error
