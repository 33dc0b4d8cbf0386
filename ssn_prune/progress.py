"""Progress of long operations."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with the name of each step before it starts."""


def no_progress(_step: str) -> None:
    """Report no progress."""
