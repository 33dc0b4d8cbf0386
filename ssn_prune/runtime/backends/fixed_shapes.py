"""A copy of a file with fixed input shapes, for runtimes that support no dynamic ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from ssn_prune.errors import ArgumentError
from ssn_prune.text import printable


def write_fixed_shapes(path: Path, shapes: Sequence[tuple[int, ...]], folder: Path) -> Path:
    """Write a copy of a file with fixed input shapes.

    A named size gets the same value wherever that name appears. Other shapes stay as they are,
    because the runtime infers them itself.

    Args:
        path: The file. Not changed.
        shapes: Shapes of its inputs, in its order, with the batch.
        folder: Where the copy is written, under the same name.

    Returns:
        The path of the copy.

    Raises:
        ArgumentError: The file does not take these shapes.
    """
    model = onnx.load(path, load_external_data=False)
    external = any(
        tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer
    )
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    sizes = _named_sizes(inputs, shapes, path.name)
    for value, shape in zip(inputs, shapes, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = size
    for value in (*model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    target = folder / path.name
    if external:
        onnx.load_external_data_for_model(model, str(path.parent))
    onnx.save(model, target, save_as_external_data=external, location=f"{path.name}.data")
    return target


def _named_sizes(
    inputs: Sequence[Any], shapes: Sequence[tuple[int, ...]], name: str
) -> dict[str, int]:
    """The values of the inputs' named sizes."""
    described = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inputs
    ]
    sizes: dict[str, int] = {}
    fits = [len(shape) for shape in shapes] == [len(dims) for dims in described]
    for dims, shape in zip(described, shapes, strict=False):
        for dim, size in zip(dims, shape, strict=False):
            if isinstance(dim, str):
                fits = fits and sizes.setdefault(dim, size) == size
            elif dim > 0:  # 0 if the size is not given
                fits = fits and dim == size
    if not fits:
        raise ArgumentError(
            f"{printable(name)} does not take these inputs",
            expected=printable(f"inputs of the shapes {described}"),
            found=str([list(shape) for shape in shapes]),
            hint="give inputs that ONNX Runtime takes",
        )
    return sizes
