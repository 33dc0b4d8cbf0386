"""Reading an exported file again."""

from __future__ import annotations

from pathlib import Path

import onnx

from ssn_prune.errors import InferenceRuntimeError, first_line


def load_graph(path: Path) -> onnx.ModelProto:
    """The graph of a file without its external data.

    Raises:
        InferenceRuntimeError: It is not an ONNX file.
    """
    try:
        return onnx.load(str(path), load_external_data=False)
    # It raises the protobuf library's errors, which have no stable class.
    except Exception as error:
        raise InferenceRuntimeError(
            f"{path.name} is not an ONNX file",
            expected="a checkpoint, or a file with the extension .onnx",
            found=first_line(error),
            hint="give the file that convert wrote",
        ) from error
