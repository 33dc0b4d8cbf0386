"""External data: files with the weights of an ONNX file, refused unless they are in its folder.

ONNX Runtime checks less, and opens whatever a location names. With a pipe it would wait forever.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx

from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.text import shown


def external_files(model: onnx.ModelProto, path: Path) -> dict[Path, int]:
    """The files that hold the weights of a model, with their sizes.

    Args:
        model: The model in the file.
        path: The file.

    Raises:
        InferenceRuntimeError: One of them is missing, is outside the folder of the file, is not a
            regular file, or is shorter than the model says.
    """
    found: dict[Path, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place, size = _checked(tensor, path)
            found[place] = size
    return found


def _tensors(model: onnx.ModelProto) -> Iterator[Any]:
    """All tensors in a model, including those in subgraphs, attributes and functions."""
    pending: list[Any] = [model]
    while pending:
        message = pending.pop()
        if isinstance(message, onnx.TensorProto):
            yield message
            continue
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending += value if hasattr(value, "add") else [value]


def _checked(tensor: Any, path: Path) -> tuple[Path, int]:
    """The file of one tensor, and its size."""
    entries = [(entry.key, entry.value) for entry in tensor.external_data]
    described = dict(entries)
    location = described.get("location", "")
    if len(described) != len(entries):
        raise _refused(path, "a duplicate entry")
    if not location or "\0" in location or _leaves(location):
        raise _refused(path, f"the location {shown(location)}")
    try:
        place = Path(os.path.realpath(path.parent / location, strict=True))
        status = place.stat()
    except OSError as error:
        raise _refused(path, f"{shown(location)}: {error.strerror}") from error
    if not place.is_relative_to(os.path.realpath(path.parent)):
        raise _refused(path, f"the link {shown(location)} to another folder")
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, f"{shown(location)}, which is no regular file")
    end = 0
    for key in ("offset", "length"):
        text = described.get(key, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise _refused(path, f"{shown(location)} with the {key} {shown(text)}")
        end += int(text)
    if end > status.st_size:
        raise _refused(
            path, f"{shown(location)} of {status.st_size} bytes, and weights that end at {end}"
        )
    return place, status.st_size


def _leaves(location: str) -> bool:
    """Whether a location is outside its folder on any operating system."""
    paths = (PurePosixPath(location), PureWindowsPath(location))
    return any(path.anchor or ".." in path.parts for path in paths)


def _refused(path: Path, found: str) -> InferenceRuntimeError:
    return InferenceRuntimeError(
        f"the weights of {path.name} are not next to it",
        expected="files in the folder of the ONNX file, as the conversion wrote them",
        found=found,
        hint="copy the ONNX file together with its .data file, or convert again",
    )
