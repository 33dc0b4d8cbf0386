"""Read an ONNX file that anyone may have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import onnx

from ssn_prune.errors import InferenceRuntimeError, first_line
from ssn_prune.text import printable

LARGEST_FILE = onnx.checker.MAXIMUM_PROTOBUF


def read_model(path: Path) -> onnx.ModelProto:
    """The model in a file, without its external data.

    Raises:
        InferenceRuntimeError: It is not an ONNX file.
    """
    content = _content(path)
    try:
        model = onnx.load_model_from_string(content)
    # onnx passes on the protobuf library's errors, which have no stable class.
    except Exception as error:
        raise _no_onnx_file(path, first_line(error)) from error
    if not model.HasField("graph"):
        raise _no_onnx_file(path, "no graph in it")
    return model


def _content(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _no_onnx_file(path, "something that is no regular file")
            if found.st_size > LARGEST_FILE:
                raise _no_onnx_file(path, f"{found.st_size} bytes, more than the format's 2 GB")
            return file.read(found.st_size)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        found_instead = getattr(error, "strerror", None) or first_line(error)
        raise _no_onnx_file(path, found_instead) from error


def _no_onnx_file(path: Path, found: str) -> InferenceRuntimeError:
    return InferenceRuntimeError(
        f"{path.name} is not an ONNX file",
        expected="a checkpoint, or a file with the extension .onnx",
        found=printable(found),
        hint="give the file that convert wrote",
    )
