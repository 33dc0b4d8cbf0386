"""What a file says of its inputs, so that nobody needs to say again how it was converted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ssn_prune.export_formats import format_of
from ssn_prune.runtime.file_facts import FileFacts

LARGEST = 32
"""A larger batch is not made because a file says so: that is how it would eat the memory."""


def file_facts(path: Path, timeout: float) -> FileFacts:
    """What a file says of its inputs.

    Args:
        path: The file, which anyone may have written.
        timeout: Seconds that reading it may take.

    Returns:
        The batch is the size of the first axis of all inputs; None if it is open, or differs.
        Nothing is known of a file that cannot be read, which whoever runs it will find.
    """
    read = format_of(path).facts
    found = FileFacts() if read is None else read(path, timeout)
    return replace(found, batch=None) if found.batch and found.batch > LARGEST else found
