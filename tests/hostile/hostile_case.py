"""One hostile file: how to write it, and what a reader may make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

UNSAFE = "unsafe"
"""Refused because it requests something that could execute code; the message names it."""
REFUSED = "refused"
"""Refused with a typed error of any kind."""
HARMLESS = "harmless"
"""Refused with a typed error, or all sound weights are read exactly."""
READ = "read"
"""The sound weights are read: the oddity of the file does no harm."""
TYPED = "typed"
"""A typed error, or any reading within the limits: the file's weights are not the sound ones, but
they are what the file says."""

CANARY = "canary"
"""A file in the folder of the process that only executed code touches."""


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
