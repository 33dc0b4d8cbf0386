"""Persistent ids: how a pickle points to the storages that lie next to it in the file."""

from __future__ import annotations

import re

from ssn_prune.checkpoint.unpickling.errors import PickleError
from ssn_prune.checkpoint.unpickling.machine import Machine
from ssn_prune.checkpoint.unpickling.source import decoded
from ssn_prune.checkpoint.unpickling.values import Name, StorageReference

# Protocol 0 stores the tuple as its text.
_AS_TEXT = re.compile(
    r"\('storage', <class '([\w.]{1,100})'>, '([^'\\]{1,100})', '([^'\\]{1,100})', "
    r"([0-9]{1,19})(?:, (None|\('([^'\\]{1,100})', ([0-9]{1,19}), ([0-9]{1,19})\)))?\)"
)
_MOST_ITEMS = 8


def resolve(machine: Machine, identity: object) -> object:
    """The storage behind a persistent id; the class, if the id is of a class with its source."""
    if not isinstance(identity, tuple) or not 2 <= len(identity) <= _MOST_ITEMS:
        raise PickleError("a persistent id that is no short tuple")
    kind = identity[0]
    if kind == "module" and isinstance(identity[1], Name):
        return identity[1]
    if kind != "storage":
        raise PickleError("a persistent id of something else than a storage")
    if not isinstance(identity[1], Name):
        raise PickleError("a storage of something that is no class")
    return StorageReference(*machine.find_storage(identity))


def parsed(line: bytes) -> tuple[object, ...]:
    """The persistent id that a text describes."""
    match = _AS_TEXT.fullmatch(decoded(line))
    if not match:
        raise PickleError("a persistent id of something else than a storage")
    cls, key, location, count, view, view_key, start, size = match.groups()
    identity = ("storage", Name(cls), key, location, int(count))
    if view is None:
        return identity
    if view == "None":
        return (*identity, None)
    return (*identity, (view_key, int(start), int(size)))
