"""InstanceNormalization written out, and reductions over one axis with another of size 1."""

from __future__ import annotations

import onnx
import pytest
import torch
from dimension_networks import Branches, one_hot_layer, sample
from graph_passes import exported, outputs, pass_named
from torch import nn

from ssn_prune import prune
from ssn_prune.normalizer import ALL_PAIRS

CODES = ("instance_moments", "two_axes", "never_one_axis", "sequence_as_plane")
OF_OPENCV = ("instance_moments", "plane_moments", "two_axes", "one_axis")
STEPS = [pass_named(code) for code in CODES]


def network_of(kind: str) -> nn.Module:
    layers = [one_hot_layer(kind, pair, seed) for seed, pair in enumerate(ALL_PAIRS)]
    network = Branches(kind, layers, adjacent=True).eval()
    return prune(network, sample(kind, 2, dtype=torch.float32)).model


def single_axes(model: onnx.ModelProto) -> int:
    """Reductions over one axis that keep it, of values with three axes or more."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    sizes = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}
    nodes = [node for node in graph.node if node.op_type.startswith("Reduce")]
    return sum(sizes[node.input[1]] == 1 and ranks[node.input[0]] > 2 for node in nodes)


def long_axes(model: onnx.ModelProto) -> list[int]:
    """Of every mean, how many of its axes are longer than 1."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {v.name: v.type.tensor_type.shape.dim for v in [*graph.value_info, *graph.input]}
    axes = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    means = [node for node in graph.node if node.op_type == "ReduceMean"]
    return [
        sum(shapes[n.input[0]][axis].dim_value != 1 for axis in axes[n.input[1]]) for n in means
    ]


@pytest.mark.parametrize("dynamic", ["none", "batch"])
@pytest.mark.parametrize("kind", ["vectors", "1d", "2d", "3d"])
def test_the_same_numbers_in_other_operators(kind: str, dynamic: str) -> None:
    network = network_of(kind)
    x = sample(kind, 2, dtype=torch.float32)
    graph = exported(network, x, dynamic)
    before, _ = graph.with_passes([])
    after, _ = graph.with_passes(STEPS)
    operators = {node.op_type for node in after.graph.node}
    assert ("InstanceNormalization" in operators) == (kind == "2d")
    assert single_axes(after) == 0
    assert (single_axes(before) > 0) == (kind == "1d")
    for value, expected in zip(outputs(after, x), outputs(before, x), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "dynamic"),  # the 3-d sample's width becomes 1, which fixes it
    [("1d", "none"), ("1d", "spatial"), ("2d", "none"), ("2d", "spatial"), ("3d", "none")],
)
def test_opencv_gets_no_instance_norm_and_means_axis_by_axis(kind: str, dynamic: str) -> None:
    network = network_of(kind)
    x = sample(kind, 2, dtype=torch.float32)
    graph = exported(network, x, dynamic)
    before, _ = graph.with_passes([])
    after, _ = graph.with_passes([pass_named(code) for code in OF_OPENCV])
    assert all(node.op_type != "InstanceNormalization" for node in after.graph.node)
    assert max(long_axes(before)) == {"1d": 1, "2d": 2, "3d": 2}[kind]
    assert set(long_axes(after)) == {1}
    for value, expected in zip(outputs(after, x), outputs(before, x), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
