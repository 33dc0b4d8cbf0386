"""The batch size that a file has, so that nobody needs to say again how it was converted."""

from __future__ import annotations

from pathlib import Path

from ssn_prune.export_formats import format_of

LARGEST = 32
"""A larger batch is not made because a file says so: that is how it would eat the memory."""


def fixed_batch(path: Path, timeout: float) -> int | None:
    """The batch size that a file is fixed at.

    Args:
        path: The file, which anyone may have written.
        timeout: Seconds that reading it may take.

    Returns:
        The size of the first axis of all inputs; None if it is open, differs, or if the file cannot
        be read, which whoever runs it will find.
    """
    read = format_of(path).batch
    found = None if read is None else read(path, timeout)
    return None if found is None or found > LARGEST else found
