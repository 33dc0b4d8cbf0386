"""Inputs that fit an ONNX file, for measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ssn_prune.errors import ArgumentError, InferenceRuntimeError
from ssn_prune.runtime.limits import available_memory
from ssn_prune.text import printable, shortened

Feed = dict[str, np.ndarray]

_Types = onnx.TensorProto
_DTYPES: Mapping[int, str] = {
    _Types.FLOAT: "float32",
    _Types.FLOAT16: "float16",
    _Types.DOUBLE: "float64",
    _Types.BOOL: "bool",
    _Types.INT8: "int8",
    _Types.INT16: "int16",
    _Types.INT32: "int32",
    _Types.INT64: "int64",
    _Types.UINT8: "uint8",
    _Types.UINT16: "uint16",
    _Types.UINT32: "uint32",
    _Types.UINT64: "uint64",
}
"""The types that NumPy also has, by its names."""


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        name: Its name in the file.
        dtype: NumPy's name of its type.
        shape: Its shape, with the batch.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


def inputs_of(
    model: onnx.ModelProto, name: str, batch: int, sizes: Sequence[tuple[int, ...]]
) -> list[Input]:
    """Describe inputs that fit a file.

    Args:
        model: The model in the file.
        name: Name of the file, for errors.
        batch: Batch size; must equal that of the file if it is fixed there.
        sizes: Shape of each input without the batch, for inputs with other dynamic axes; may be
            empty.

    Raises:
        ArgumentError: The file has another fixed batch size, or a dynamic size is not given.
        InferenceRuntimeError: An input is not a tensor of numbers, or does not fit into memory.
    """
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    wanted = [value for value in graph.input if value.name not in known]
    found = []
    for index, value in enumerate(wanted):
        given = sizes[index] if index < len(sizes) else ()
        dtype = _dtype(value, name)
        found.append(Input(value.name, dtype, _shape(value, name, batch, given)))
    _require_memory(found, name)
    return found


def make_feed(inputs: Sequence[Input]) -> Feed:
    """Standard normal values from a fixed seed; inputs of integers or booleans are zero."""
    rng = np.random.default_rng(0)
    feed: Feed = {}
    for entry in inputs:
        real = np.dtype(entry.dtype).kind == "f"
        values = rng.standard_normal(entry.shape) if real else np.zeros(entry.shape)
        feed[entry.name] = values.astype(entry.dtype)
    return feed


def _dtype(value: onnx.ValueInfoProto, name: str) -> str:
    kind = value.type.WhichOneof("value")
    number = value.type.tensor_type.elem_type
    if kind == "tensor_type" and number in _DTYPES:
        return _DTYPES[number]
    if kind == "tensor_type":
        known = number in _Types.DataType.values()
        found = f"a tensor of {_Types.DataType.Name(number) if known else f'type {number}'}"
    else:
        found = "no type" if kind is None else kind.removesuffix("_type").replace("_", " ")
    raise InferenceRuntimeError(
        f"{name} cannot be measured: no values can be made up for its input {_named(value)}",
        expected=f"a tensor of {', '.join(_DTYPES.values())}",
        found=found,
        hint="export the network with inputs of such a type",
    )


def _shape(
    value: onnx.ValueInfoProto, name: str, batch: int, given: tuple[int, ...]
) -> tuple[int, ...]:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        if given:
            return (batch, *given)
        raise _dynamic(value, name, "no shape")
    if not tensor.shape.dim:
        return ()
    fixed = [_fixed_size(dim) for dim in tensor.shape.dim]
    if fixed[0] == 0:
        raise InferenceRuntimeError(
            f"{name} cannot be measured: the batch of its input {_named(value)} is fixed at 0",
            expected="a batch of at least one sample",
            found=f"the shape {_described(value)}",
            hint="export the network with a batch of one sample or more",
        )
    if fixed[0] not in (None, batch):
        raise ArgumentError(
            f"the batch size of {name} is fixed",
            expected=f"`batch={fixed[0]}`",
            found=f"`batch={batch}`",
            hint=f"pass `batch={fixed[0]}`, or convert without `static_batch=` to have it dynamic",
        )
    if None in fixed[1:] and len(given) != len(fixed) - 1:
        raise _dynamic(value, name, f"the shape {_described(value)}")
    rest = given if None in fixed[1:] else tuple(dim for dim in fixed[1:] if dim is not None)
    return (batch, *rest)


def _fixed_size(dim: Any) -> int | None:
    """The size of an axis; None if it is dynamic, which old exporters write as -1."""
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _dynamic(value: onnx.ValueInfoProto, name: str, found: str) -> ArgumentError:
    """The error for dynamic sizes that are not given; its hint has sizes that fit the file."""
    fixed = [_fixed_size(dim) for dim in value.type.tensor_type.shape.dim][1:] or [3, None, None]
    fitting = tuple(224 if size is None else size for size in fixed)
    return ArgumentError(
        f"{name} has dynamic sizes in {_named(value)}",
        expected=f"`input_size=` with {len(fitting)} of them: all but the batch",
        found=found,
        hint=f"for example `input_size={fitting}`",
    )


def _require_memory(inputs: Sequence[Input], name: str) -> None:
    available = available_memory()
    size = sum(math.prod(entry.shape) * np.dtype(entry.dtype).itemsize for entry in inputs)
    if available is not None and size > available // 2:
        raise InferenceRuntimeError(
            f"{name} cannot be measured: its inputs do not fit into memory",
            expected=f"inputs of at most {available // 2} bytes, half of what is free",
            found=f"inputs of {size} bytes",
            hint="pass a smaller `batch=` or `input_size=`, where the file leaves them open",
        )


def _named(value: onnx.ValueInfoProto) -> str:
    return printable(shortened(value.name))


def _described(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    names = [dim.dim_param or dim.dim_value for dim in dims[:9]]
    return printable(shortened(str(names)))
