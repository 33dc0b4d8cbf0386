"""The export options that can be read from a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx


@dataclass(frozen=True)
class FileOptions:
    """Options of an export.

    Attributes:
        opset: ONNX operator set.
        ir_version: ONNX file format version.
        dynamic: Which axes of the inputs are dynamic: none, the first one, or more.
    """

    opset: int
    ir_version: int
    dynamic: Literal["none", "batch", "spatial"]


def options_of(model: onnx.ModelProto) -> FileOptions:
    """The export options of a model."""
    opset = next((entry.version for entry in model.opset_import if not entry.domain), 0)
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    fixed = [[dim.HasField("dim_value") for dim in shape] for shape in shapes]
    dynamic: Literal["none", "batch", "spatial"] = "none"
    if not all(all(shape[1:]) for shape in fixed):
        dynamic = "spatial"
    elif not all(all(shape) for shape in fixed):
        dynamic = "batch"
    return FileOptions(opset, model.ir_version, dynamic)


def batch_of(model: onnx.ModelProto) -> int | None:
    """The fixed size of the first axis of all inputs; None if it is dynamic or differs."""
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    sizes = {shape[0].dim_value if shape else 0 for shape in shapes}
    size = sizes.pop() if len(sizes) == 1 else 0
    return size if size > 0 else None
