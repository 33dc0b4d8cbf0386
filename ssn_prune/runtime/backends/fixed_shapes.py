"""A copy of a file whose inputs have given shapes, for runtimes that take no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from ssn_prune.errors import ArgumentError
from ssn_prune.text import printable


def write_fixed_shapes(path: Path, shapes: Sequence[tuple[int, ...]], folder: Path) -> Path:
    """Write a copy of a file with fixed input shapes.

    A size with a name has the same value wherever that name stands. What is known of other values
    stays as it is: a runtime finds their shapes itself.

    Args:
        path: The file. Not changed.
        shapes: Of its inputs, in its order, with the batch.
        folder: Where the copy goes, under the same name.

    Returns:
        The copy.

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
    """The values of the sizes that the inputs leave open."""
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
            elif dim > 0:  # 0 if nothing is said
                fits = fits and dim == size
    if not fits:
        raise ArgumentError(
            f"{printable(name)} does not take these inputs",
            expected=printable(f"inputs of the shapes {described}"),
            found=str([list(shape) for shape in shapes]),
            hint="give inputs that ONNX Runtime takes",
        )
    return sizes
