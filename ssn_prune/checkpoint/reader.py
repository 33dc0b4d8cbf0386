"""From a file to Python objects, without ever executing what the file says.

Only ``torch.load(weights_only=True)`` and safetensors are used; there is no unsafe fallback.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ssn_prune.checkpoint.inert import inert_globals
from ssn_prune.errors import CheckpointError, UnsafeCheckpointError, first_line

# What a damaged or foreign file can make the readers raise.
_READ_ERRORS = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
)
_EXPECTED = "a PyTorch checkpoint (torch.save) or a safetensors file"


@dataclass(frozen=True)
class CheckpointFile:
    """The content of a file.

    Attributes:
        path: Where it was read.
        content: The unpickled object, or a dict of tensors for safetensors.
        format: ``"zip"``, ``"legacy"`` or ``"safetensors"``.
        sha256: Hash of the file.
        metadata: String metadata of a safetensors file.
    """

    path: Path
    content: Any
    format: str
    sha256: str
    metadata: dict[str, str] = field(default_factory=dict)


def read_file(path: Path) -> CheckpointFile:
    """Read a checkpoint on the CPU.

    Args:
        path: A file written by ``torch.save`` (zip or legacy format) or safetensors.

    Raises:
        CheckpointError: The file is missing, empty, damaged, or something else.
        UnsafeCheckpointError: Its pickle asks for a global that could execute code.
    """
    form = _detect_format(path)
    metadata: dict[str, str] = {}
    try:
        if form == "safetensors":
            content, metadata = _read_safetensors(path)
        else:
            content = _read_torch(path)
    except _READ_ERRORS as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error)) or re.search(
            r"(?:reduce for unrecognized function|but got) <(?:class|function) '?([\w.]+)",
            str(error),
        )
        if isinstance(error, pickle.UnpicklingError) and refused and not _cut_off(path, refused[1]):
            raise UnsafeCheckpointError(str(path), refused.group(1).rstrip(".")) from error
        raise CheckpointError(
            f"{path} cannot be read: it is damaged, truncated or not a checkpoint",
            expected=_EXPECTED,
            found=f"{path.stat().st_size} bytes; {first_line(error)}",
            hint="copy or download the file again and compare its size with the source",
        ) from error
    return CheckpointFile(path, content, form, _sha256(path), metadata)


def _cut_off(path: Path, name: str) -> bool:
    """Whether the file ends in the middle of a global's name, which then is not what it says."""
    last = (name.rpartition(".")[2] or name.rstrip(".")).encode()
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, len(last) + 1), 2)
        # The unpickler takes off a line's end, which here is a letter of the name.
        return file.read()[:-1] == last


def _detect_format(path: Path) -> str:
    if not path.exists():
        near = sorted(p.name for p in path.parent.glob("*.pt*")) if path.parent.is_dir() else []
        raise CheckpointError(
            f"{path} does not exist",
            expected=_EXPECTED,
            found="no such file",
            hint=f"files beside it: {', '.join(near[:5])}" if near else "check the path",
        )
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a directory", expected=_EXPECTED, found="a directory", hint="name one file"
        )
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be opened",
            expected=_EXPECTED,
            found=error.strerror or str(error),
            hint="check the permissions",
        ) from error
    if not head:
        raise CheckpointError(
            f"{path} is empty",
            expected=_EXPECTED,
            found="0 bytes",
            hint="the file was probably cut off while it was written: copy it again",
        )
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if len(head) == 9 and head[8:] == b"{":
        return "safetensors"
    if head.startswith(b"\x80"):
        return "legacy"
    raise CheckpointError(
        f"{path} is not a checkpoint",
        expected=_EXPECTED,
        found=f"a file that starts with {head!r}",
        hint="name the file that holds the trained weights",
    )


def _read_torch(path: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(inert_globals()):
        # Newer pickle protocols are announced by a warning that nobody could act on.
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> tuple[Any, dict[str, str]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError(f"the header claims {length} bytes")
            header = json.loads(file.read(length))
        tensors, metadata = load_file(path, device="cpu"), dict(header.get("__metadata__", {}))
        # save_model writes a tensor with several names once and notes the others: name -> kept.
        shared = {k: tensors[v] for k, v in metadata.items() if v in tensors and k not in tensors}
        return tensors | shared, metadata
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
