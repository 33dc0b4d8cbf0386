"""The content of a checkpoint as plain Python objects and torch tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.stored import StoredTensor
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.unpickling import Pairs


def read_all(path: Path) -> Any:
    """The whole content, with every tensor read; stand-ins for metadata stay unchanged."""
    with open_checkpoint(path) as file:
        return plain(file.content)


def plain(value: Any) -> Any:
    """Turn mappings into dicts, and tensor descriptions of an open file into tensors."""
    if isinstance(value, Pairs):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    return to_torch({"x": value})["x"] if isinstance(value, StoredTensor) else value
