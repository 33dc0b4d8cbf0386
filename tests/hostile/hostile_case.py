"""One hostile file: how it is written, and what a reader may do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

UNSAFE = "unsafe"
"""Refused because it asks for something that could execute code; the name is told."""
REFUSED = "refused"
"""Refused with a typed error of any kind."""
HARMLESS = "harmless"
"""Refused with a typed error, or the sound weights are read, all and exactly."""
READ = "read"
"""The sound weights are read: what is odd about the file does no harm."""
TYPED = "typed"
"""A typed error, or any reading within the bounds: the weights of the file are not the sound ones,
but they are what it says."""

CANARY = "canary"
"""A file that only executed code makes, in the folder of the process."""


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        name: Unique.
        outcome: One of the outcomes above.
        content: Makes its bytes.
        live: Whether Python's own unpickler executes it, so that the canary dies.
    """

    name: str
    outcome: str
    content: Callable[[], bytes]
    live: bool = False
