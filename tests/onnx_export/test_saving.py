"""Files are written without a message of all weights, and mean the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import BN, IN, trained_layer
from torch import nn

from ssn_prune import export_onnx, prune
from ssn_prune.errors import ExportError
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export import saving as writing


def model_of(*tensors: ir.TensorProtocol) -> ir.Model:
    """Adds all tensors to the input, one after another."""
    x = ir.Value(name="x", shape=ir.Shape(["n"]), type=ir.TensorType(tensors[0].dtype))
    nodes, last, initializers = [], x, []
    for tensor in tensors:
        value = ir.Value(
            name=tensor.name,
            shape=tensor.shape,
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        initializers.append(value)
        nodes.append(ir.Node("", "Add", [last, value]))
        last = nodes[-1].outputs[0]
        last.name, last.type = f"sum_{tensor.name}", ir.TensorType(tensor.dtype)
        last.shape = ir.Shape([None])
    graph = ir.Graph(
        [x], [last], nodes=nodes, initializers=initializers, opset_imports={"": 18}, name="g"
    )
    return ir.Model(graph, ir_version=10)


def written(model: ir.Model, path: Path) -> onnx.ModelProto:
    writing.save_checked(model, path, path, 2**31)
    return onnx.load(path)


@given(size=st.integers(2, 3000), count=st.integers(1, 5))
def test_every_initializer_is_written(size: int, count: int, tmp_path_factory) -> None:
    sizes = [size if index % 2 else 1 for index in range(count)]  # small ones are not streamed
    values = [np.arange(size, dtype=np.float32) + index for index, size in enumerate(sizes)]
    tensors = [ir.tensor(value, name=f"w{index}") for index, value in enumerate(values)]
    model = model_of(*tensors)
    expected = ir.to_proto(model)
    found = written(model, tmp_path_factory.mktemp("w") / "m.onnx")
    by_name = {item.name: item for item in found.graph.initializer}
    assert len(by_name) == len(found.graph.initializer) == len(sizes)
    for item in expected.graph.initializer:
        same = by_name[item.name]
        assert (item.dims, item.data_type, item.raw_data) == (
            same.dims,
            same.data_type,
            same.raw_data,
        )
    for graph in (found.graph, expected.graph):
        del graph.initializer[:], graph.value_info[:]
    assert found == expected
    assert list(model.graph.initializers) == [f"w{index}" for index in range(len(sizes))]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_other_types(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.arange(5000).to(dtype)
    tensor = ir.tensor(values, name="w")
    found = written(model_of(tensor), tmp_path / "m.onnx").graph.initializer[0]
    assert found.raw_data == values.view(torch.uint8).numpy().tobytes()
    assert found.data_type == tensor.dtype.value


def test_an_invalid_graph_is_not_written(tmp_path: Path) -> None:
    model = model_of(ir.tensor(np.zeros(5000, np.float32), name="w"))
    model.graph.node(0).op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match="not valid ONNX"):
        writing.save_checked(model, tmp_path / "m.onnx", tmp_path / "m.onnx", 2**31)
    assert not (tmp_path / "m.onnx").exists()


def test_shapes_are_checked_without_the_weights(tmp_path: Path) -> None:
    """The checker's shape inference sees the shape of a weight that it is not given."""
    model = model_of(ir.tensor(np.zeros((2, 3000), np.float32), name="w"))
    model.graph.outputs[0].shape = ir.Shape([7, 3000])
    with pytest.raises(ExportError, match="not valid ONNX"):
        writing.save_checked(model, tmp_path / "m.onnx", tmp_path / "m.onnx", 2**31)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31 - 1])
def test_varints_are_those_of_protobuf(number: int) -> None:
    message = onnx.TensorProto(data_type=1).SerializeToString()
    expected = onnx.OperatorSetIdProto(version=number).SerializeToString()
    assert message == b"\x10\x01"
    assert expected == b"\x10" + writing._varint(number)


def test_an_export_has_every_parameter(tmp_path: Path) -> None:
    layer = trained_layer(32, NormalizerPair(IN, BN))
    x = torch.randn(2, 8, 8, 8)
    model = prune(nn.Sequential(nn.Conv2d(8, 32, 3), layer).eval(), x).model
    export_onnx(model, x, tmp_path / "m.onnx")
    found = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(found, full_check=True)
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in found.graph.initializer}
    parameters = {name: value.detach().numpy() for name, value in model.named_parameters()}
    kept = parameters.keys() & stored.keys()
    assert any(parameters[name].nbytes >= writing._LARGE for name in kept)
    for name in kept:
        np.testing.assert_array_equal(stored[name], parameters[name])
