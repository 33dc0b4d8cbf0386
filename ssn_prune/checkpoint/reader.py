"""From a file to plain Python objects and descriptions of tensors.

Nothing in a file is ever executed or imported, and the numbers of tensors are read only when they
are asked for. There is no other way to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ssn_prune.checkpoint.input_file import InputFile, open_input
from ssn_prune.checkpoint.legacy import read_legacy
from ssn_prune.checkpoint.recognition import format_of
from ssn_prune.checkpoint.safetensors import read_safetensors
from ssn_prune.checkpoint.torch_zip import read_zip


@dataclass(frozen=True)
class CheckpointFile:
    """The content of an open file.

    Attributes:
        file: The file; tensors are read from it.
        content: What it holds: plain values, ``Pairs`` for mappings, and descriptions of tensors.
        format: ``"zip"``, ``"legacy"`` or ``"safetensors"``.
        has_checksums: Whether a changed byte of a tensor is found when it is read.
        metadata: Text metadata of a safetensors file.
    """

    file: InputFile
    content: object
    format: str
    has_checksums: bool
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self.file.path


@contextmanager
def open_checkpoint(path: Path) -> Iterator[CheckpointFile]:
    """Open a checkpoint; its tensors can be read until the file is closed.

    Args:
        path: A file written by ``torch.save`` (zip or legacy format) or safetensors.

    Raises:
        CheckpointError: The file is missing, empty, damaged or not a checkpoint, or it changed
            while it was open.
        UnsafeCheckpointError: Its pickle asks for a global that could execute code.
    """
    with open_input(path) as file:
        form = format_of(file)
        if form == "safetensors":
            tensors, metadata = read_safetensors(file)
            yield CheckpointFile(file, tensors, form, has_checksums=False, metadata=metadata)
        elif form == "zip":
            content, has_checksums = read_zip(file)
            yield CheckpointFile(file, content, form, has_checksums)
        else:
            yield CheckpointFile(file, read_legacy(file), form, has_checksums=False)
