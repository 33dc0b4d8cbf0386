"""What is known about a file in any format. No runtime is imported here, for `inspect`'s sake."""

from __future__ import annotations

from typing import Protocol


class FileStats(Protocol):
    """What is known about every exported file; formats add to it."""

    @property
    def file_name(self) -> str:
        """Its name."""

    @property
    def bytes(self) -> int:
        """Its size in bytes, including a separate file of weights."""
