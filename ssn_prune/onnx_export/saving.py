"""Write a model to a file without a second copy of its weights in memory, and check it.

A protobuf message of the whole model would hold every weight again, and its bytes once more. So
only the graph becomes a message; the weights go from the network's own memory straight into the
file. Fields of a protobuf message may come in any order, so each large initializer is appended to
the graph's: its short header, then the raw data.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir

from ssn_prune.errors import ExportError, first_line
from ssn_prune.files import external_name, write_errors

_LARGE = 4096
"""Bytes from which on an initializer is streamed. Shapes and the like, which the checker's shape
inference reads, are smaller."""
# (number << 3) | 2 is a protobuf field of bytes.
_GRAPH_OF_MODEL = bytes([7 << 3 | 2])
_INITIALIZER_OF_GRAPH = bytes([5 << 3 | 2])
_RAW_DATA_OF_TENSOR = bytes([9 << 3 | 2])


def save_checked(graph: ir.Model, temporary: Path, target: Path, limit: int) -> str | None:
    """Save a model and see whether it is valid.

    Args:
        graph: The model.
        temporary: The file to write, which is to be renamed to ``target`` in the same folder.
        target: Its later name.
        limit: Bytes of weights above which they go into a file of their own.

    Returns:
        The name of that file, or None if the weights are embedded.

    Raises:
        ExportError: The graph is not valid ONNX.
        OutputError: It cannot be written.
    """
    weights = [value.const_value for value in graph.graph.initializers.values()]
    size = sum(tensor.nbytes for tensor in weights if tensor is not None)
    if size <= limit:
        skeleton, large = _without_large_weights(graph)
        check(_with_inputs(skeleton, large))
        with write_errors(target), temporary.open("wb") as file:
            _stream(skeleton, large, file)
        return None
    digest = hashlib.sha256()
    for tensor in weights:
        if tensor is not None:
            digest.update(tensor.tobytes())
    name = external_name(target, digest.hexdigest()[:16])
    # Written aside and moved: an old model may still use a file of the same name.
    with write_errors(target), tempfile.TemporaryDirectory(dir=temporary.parent) as folder:
        aside = Path(folder) / temporary.name
        ir.save(graph, aside, external_data=name)
        (aside.parent / name).replace(temporary.parent / name)
        aside.replace(temporary)
    check(str(temporary))
    return name


def check(model: onnx.ModelProto | str) -> None:
    """Have the ONNX checker look at a model or file.

    Raises:
        ExportError: It is not valid.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            "the exported graph is not valid ONNX",
            expected="a graph that onnx.checker accepts",
            found=first_line(error),
            hint="try another `opset=`, and please report this network",
        ) from error


def _without_large_weights(
    graph: ir.Model,
) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """The model as a message without its large initializers, and these by name."""
    inputs = {value.name for value in graph.graph.inputs}
    large = {
        name: value.const_value
        for name, value in graph.graph.initializers.items()
        if value.const_value is not None
        and value.const_value.dtype is not ir.DataType.STRING
        and value.const_value.nbytes >= _LARGE
        and name not in inputs  # it has a default then
    }
    with _taken_out(graph, large):
        return ir.to_proto(graph), large


@contextlib.contextmanager
def _taken_out(graph: ir.Model, names: Iterable[str]) -> Iterator[None]:
    initializers = graph.graph.initializers
    values = list(initializers.values())
    for name in names:
        del initializers[name]
    try:
        yield
    finally:
        initializers.clear()
        for value in values:
            initializers.add(value)


def _header(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    return onnx.TensorProto(name=name, dims=tensor.shape.numpy(), data_type=tensor.dtype.value)


def _with_inputs(skeleton: onnx.ModelProto, large: dict[str, ir.TensorProtocol]) -> onnx.ModelProto:
    """The same graph with inputs in the place of large initializers, for the checker."""
    checked = onnx.ModelProto()
    checked.CopyFrom(skeleton)
    for name, tensor in large.items():
        shape = tensor.shape.numpy()
        checked.graph.input.append(
            onnx.helper.make_tensor_value_info(name, tensor.dtype.value, shape)
        )
    return checked


def _stream(skeleton: onnx.ModelProto, large: dict[str, ir.TensorProtocol], file: BinaryIO) -> None:
    graph = skeleton.graph.SerializeToString(deterministic=True)
    headers = {
        name: _header(name, tensor).SerializeToString(deterministic=True)
        for name, tensor in large.items()
    }
    starts = {
        name: header + _RAW_DATA_OF_TENSOR + _varint(large[name].nbytes)
        for name, header in headers.items()
    }
    lengths = {name: len(start) + large[name].nbytes for name, start in starts.items()}
    size = len(graph) + sum(
        len(_INITIALIZER_OF_GRAPH) + len(_varint(length)) + length for length in lengths.values()
    )
    outside = onnx.ModelProto()
    outside.CopyFrom(skeleton)
    outside.ClearField("graph")
    file.write(outside.SerializeToString(deterministic=True))
    file.write(_GRAPH_OF_MODEL + _varint(size))
    file.write(graph)
    for name, tensor in large.items():
        file.write(_INITIALIZER_OF_GRAPH + _varint(lengths[name]) + starts[name])
        if isinstance(tensor, ir.Tensor):
            tensor.tofile(file)
        else:
            file.write(tensor.tobytes())


def _varint(number: int) -> bytes:
    """Protobuf's encoding of a number: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
