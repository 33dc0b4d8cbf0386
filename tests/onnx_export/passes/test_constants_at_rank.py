"""Constants per channel get as many axes as what they are combined with."""

from __future__ import annotations

import onnx
import pytest
import torch
from dimension_networks import Branches, one_hot_layer, sample
from graph_passes import exported, outputs, pass_named

from ssn_prune import prune
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.onnx_export.passes.constants_at_rank import ELEMENTWISE


def short_constants(model: onnx.ModelProto) -> int:
    """Constants with axes that are combined with a value that has more."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    constants = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    found = 0
    for node in graph.node:
        if node.op_type in ELEMENTWISE:
            highest = max((ranks | constants)[name] for name in node.input)
            found += sum(0 < constants.get(name, 0) < highest for name in node.input)
    return found


@pytest.mark.parametrize("kind", ["vectors", "1d", "2d", "3d"])
def test_the_same_bits(kind: str) -> None:
    layers = [one_hot_layer(kind, pair, seed) for seed, pair in enumerate(ALL_PAIRS)]
    x = sample(kind, 2, dtype=torch.float32)
    network = Branches(kind, layers, adjacent=True).eval()
    graph = exported(prune(network, x).model, x, "batch")
    before, _ = graph.with_passes([])
    after, records = graph.with_passes([pass_named("constants_at_rank")])
    assert short_constants(before) > 0
    assert [record.code for record in records] == ["constants_at_rank"]
    assert short_constants(after) == 0
    for value, expected in zip(outputs(after, x), outputs(before, x), strict=True):
        assert torch.equal(value, expected)
