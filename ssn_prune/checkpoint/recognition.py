"""What kind of file this is, from its first bytes; other kinds are refused with a hint."""

from __future__ import annotations

from ssn_prune.checkpoint.input_file import EXPECTED, SAVE_WEIGHTS, InputFile
from ssn_prune.errors import CheckpointError

_SAVE = f"save the weights with {SAVE_WEIGHTS}"
# Protocols 0 and 1 write torch's magic number as text.
_LEGACY = (b"\x80", b"L119547037146038801333356L\n.")

# By an offset and the bytes that are there: what the file is, and what to do.
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "run git lfs pull in its repository",
    ),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)", f"load it in PyTorch and {_SAVE}"),
    (
        0,
        b"\x93NUMPY",
        "a NumPy array",
        "load the arrays into the network in PyTorch with load_state_dict and " + _SAVE,
    ),
    (0, b"\x1f\x8b", "a gzip file", "unpack it with gzip -d, or tar -xzf for a .tar.gz"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it with zstd -d"),
    (0, b"BZh", "a bzip2 file", "unpack it with bzip2 -d"),
    (0, b"\xfd7zXZ", "an xz file", "unpack it with xz -d"),
    (0, b"GGUF", "a GGUF file", f"it holds no switchable network; in PyTorch {_SAVE}"),
    (
        257,
        b"ustar",
        "a tar archive (the format of PyTorch before 0.1.10, or a packed folder)",
        "load it with torch.load in an environment that you trust and " + _SAVE + "; a packed "
        "folder: unpack it with tar -xf",
    ),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def format_of(file: InputFile) -> str:
    """``"zip"``, ``"legacy"`` or ``"safetensors"``.

    Raises:
        CheckpointError: It is something else.
    """
    head = file.read(0, min(file.size, 512))
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(_LEGACY):
        return "legacy"
    for start, magic, kind, hint in _OTHERS:
        if head[start:].startswith(magic):
            raise another_kind(file, kind, hint)
    if head.lstrip().lower().startswith(_PAGES):
        raise another_kind(
            file,
            "a web page",
            "the download returned a page, such as a login or a warning: download the file itself",
        )
    if _is_onnx(head):
        raise another_kind(
            file, "an ONNX file", "give the checkpoint that it was made from, not the result"
        )
    raise CheckpointError(
        f"{file.path} is not a checkpoint",
        expected=EXPECTED,
        found=f"a file that starts with {head[:40]!r}",
        hint="name the file that holds the trained weights",
    )


def another_kind(file: InputFile, kind: str, hint: str) -> CheckpointError:
    """The error for a file of a known format that is not read."""
    return CheckpointError(
        f"{file.path} is {kind}, not a checkpoint of weights",
        expected=EXPECTED,
        found=kind,
        hint=hint,
    )


def _is_onnx(head: bytes) -> bool:
    """Whether this is a protobuf that starts with ir_version and the name of a producer."""
    return head[:1] == b"\x08" and head[2:3] == b"\x12" and 0 < head[1:2][0] < 32
