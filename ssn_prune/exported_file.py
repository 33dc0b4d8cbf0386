"""What is known of a file in any format; nothing here imports a runtime, for `inspect`."""

from __future__ import annotations

from typing import Protocol


class FileStats(Protocol):
    """What is known of every exported file; formats add to it."""

    @property
    def file_name(self) -> str:
        """Its name."""

    @property
    def bytes(self) -> int:
        """Its size, with that of a separate file of weights."""
