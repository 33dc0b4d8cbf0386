"""Telling what a long operation is doing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with the name of each step before it starts."""


def no_progress(_step: str) -> None:
    """For those who do not want to know."""
