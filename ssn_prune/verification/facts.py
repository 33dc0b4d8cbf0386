"""What a file says of its inputs, so that users need not repeat the options of its conversion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ssn_prune.export_formats import format_of
from ssn_prune.runtime.file_facts import FileFacts

LARGEST = 32
"""A larger batch size in a file is ignored: an untrusted file could otherwise exhaust memory."""


def file_facts(path: Path, timeout: float) -> FileFacts:
    """What a file says of its inputs.

    Args:
        path: The file, which anyone may have written.
        timeout: Seconds that reading it may take.

    Returns:
        The facts. The batch is the size of the first axis of all inputs; None if it is dynamic,
        differs or is too large. For a file that cannot be read they are empty; running it will
        report the reason.
    """
    read = format_of(path).facts
    found = FileFacts() if read is None else read(path, timeout)
    return replace(found, batch=None) if found.batch and found.batch > LARGEST else found
