"""The metadata that the conversion stores in a .pt2 file, read without executing anything.

The file is a zip archive. Only the one small member is read, with the reader for checkpoints.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssn_prune.checkpoint.input_file import open_input
from ssn_prune.checkpoint.zip_directory import read_directory
from ssn_prune.errors import CheckpointError
from ssn_prune.runtime.file_facts import FileFacts
from ssn_prune.runtime.stored_metadata import (
    StoredSource,
    layer_values_in,
    preprocessing_in,
    source_in,
)

METADATA_FILE = "ssn_prune.json"
INPUTS_KEY = "ssn_prune.inputs"
_MEMBER = f"/extra/{METADATA_FILE}"
_LONGEST = 16 << 20


def stored_in_program(path: Path) -> dict[str, str]:
    """The metadata of a file that anyone may have written; empty if it has none."""
    try:
        with open_input(path) as file:
            archive = read_directory(file)
            member = next((name for name in archive.members if name.endswith(_MEMBER)), None)
            found = {} if member is None else _parsed(archive.read(member, _LONGEST))
    except CheckpointError:  # opening the file will report what is wrong with it
        return {}
    return found if isinstance(found, dict) and all(map(_is_text, found.values())) else {}


def source_of_program(path: Path) -> StoredSource | None:
    """The checkpoint that a program names; None if it names none in the form that we write."""
    return source_in(stored_in_program(path))


def layer_values_of_program(path: Path) -> dict[str, str]:
    """The names of the values that equal the layers' outputs; malformed ones are left out."""
    return layer_values_in(stored_in_program(path))


def batch_of_program(path: Path) -> int | None:
    """The fixed batch size of all inputs; None if it is dynamic, differs or is not stored."""
    inputs = _parsed(stored_in_program(path).get(INPUTS_KEY, "{}"))
    shapes = list(inputs.values()) if isinstance(inputs, dict) else []
    firsts = [shape[0] if isinstance(shape, list) and shape else None for shape in shapes]
    sizes = {size if type(size) is int else None for size in firsts}
    batch = sizes.pop() if len(sizes) == 1 else None
    return batch if batch is not None and batch > 0 else None


def facts_of_program(path: Path) -> FileFacts:
    """What a program says of its inputs."""
    return FileFacts(batch_of_program(path), preprocessing_in(stored_in_program(path)))


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
