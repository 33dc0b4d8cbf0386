"""Files hold every weight, in one file or two, and are valid."""

from __future__ import annotations

import os
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
from ssn_prune.errors import ExportError, OutputError
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export import saving


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
    saving.save_checked(model, path, path, 2**31)
    return onnx.load(path)


@given(size=st.integers(2, 3000), count=st.integers(1, 5))
def test_every_initializer_is_written(size: int, count: int, tmp_path_factory) -> None:
    sizes = [size if index % 2 else 1 for index in range(count)]
    values = [np.arange(size, dtype=np.float32) + index for index, size in enumerate(sizes)]
    tensors = [ir.tensor(value, name=f"w{index}") for index, value in enumerate(values)]
    found = written(model_of(*tensors), tmp_path_factory.mktemp("w") / "m.onnx")
    assert [item.name for item in found.graph.initializer] == [t.name for t in tensors]
    for item, value in zip(found.graph.initializer, values, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(item), value)


def test_weights_above_the_limit_go_into_a_file_of_their_own(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    path, model = tmp_path / "m.onnx", model_of(ir.tensor(values, name="w"))
    assert saving.save_checked(model, path, path, values.nbytes) is None
    name = saving.save_checked(model, path, path, values.nbytes - 1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", name]
    assert path.stat().st_size < values.nbytes <= (tmp_path / name).stat().st_size
    (found,) = onnx.load(path).graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(found), values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_other_types(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.arange(5000).to(dtype)
    tensor = ir.tensor(values, name="w")
    found = written(model_of(tensor), tmp_path / "m.onnx").graph.initializer[0]
    assert found.raw_data == values.view(torch.uint8).numpy().tobytes()
    assert found.data_type == tensor.dtype.value


@pytest.mark.parametrize("limit", [0, 2**31])
def test_an_invalid_graph_is_refused(limit: int, tmp_path: Path) -> None:
    model = model_of(ir.tensor(np.zeros(5000, np.float32), name="w"))
    model.graph.node(0).op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match="not valid ONNX"):
        saving.save_checked(model, tmp_path / "m.onnx", tmp_path / "m.onnx", limit)


@pytest.mark.parametrize("name", ["m[v2].onnx", "\u6f22 \n.onnx", os.fsdecode(b"m\xff.onnx")])
def test_an_odd_name_with_its_weights_in_another_file(name: str, tmp_path: Path) -> None:
    model = model_of(ir.tensor(np.zeros(5000, np.float32), name="w"))
    target = tmp_path / name
    if name.isascii() or "\n" in name:
        external = saving.save_checked(model, target, target, 0)
        assert external is not None
        assert (tmp_path / external).is_file()
    else:
        with pytest.raises(OutputError, match="cannot name its file of weights"):
            saving.save_checked(model, target, target, 0)


def test_shapes_are_checked(tmp_path: Path) -> None:
    model = model_of(ir.tensor(np.zeros((2, 3000), np.float32), name="w"))
    model.graph.outputs[0].shape = ir.Shape([7, 3000])
    with pytest.raises(ExportError, match="not valid ONNX"):
        saving.save_checked(model, tmp_path / "m.onnx", tmp_path / "m.onnx", 2**31)


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
    assert kept
    for name in kept:
        np.testing.assert_array_equal(stored[name], parameters[name])
