"""Norms of a convolution that others use, too: written out, since MNN merges them regardless."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest
import torch
from dimension_networks import randomize_layer
from graph_passes import exported, outputs, pass_named
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery.float64 import float64_copy


class Shared(nn.Module):
    """Something normalizes a convolution, whose output is added to it if it is shared."""

    def __init__(self, norm: nn.Module, shared: bool, dims: int = 2) -> None:
        super().__init__()
        self.conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims](3, 4, 2)
        self.norm, self.shared = norm, shared

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y.sigmoid() if self.shared else self.norm(y)


def batch_norm(dims: int, eps: float) -> nn.Module:
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims](4, eps=eps)
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


def norms_of_convolutions(model: onnx.ModelProto) -> int:
    convolved = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    users = Counter(name for node in model.graph.node for name in node.input)
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    return sum(node.input[0] in convolved and users[node.input[0]] > 1 for node in norms)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_a_batch_norm_of_the_user(dims: int, eps: float) -> None:
    torch.manual_seed(0)
    network = Shared(batch_norm(dims, eps), shared=True, dims=dims).eval()
    x = torch.randn(2, 3, *(6, 5, 4)[:dims])
    graph = exported(network, x, "batch")
    before, _ = graph.with_passes([])
    after, records = graph.with_passes([pass_named("norm_of_shared")])
    assert [record.count for record in records] == [1]
    assert (norms_of_convolutions(before), norms_of_convolutions(after)) == (1, 0)
    with torch.no_grad():
        exact = float64_copy(network)(x.double())
    for model in (before, after):
        error = float((outputs(model, x)[0].double() - exact).abs().max())
        assert error <= 1e-6 * float(exact.abs().max())


@pytest.mark.parametrize("variance", [Normalizer.IN, Normalizer.LN])
def test_a_running_mean_of_ours(variance: Normalizer) -> None:
    """The variance of the layer uses the convolution, too."""
    torch.manual_seed(0)
    layer = randomize_layer(SSN2d(4))
    layer.fix(Normalizer.BN, variance)
    layer.running_mean += 8  # so far from the inputs that the convolution does not take it
    network = Shared(layer, shared=False).eval()
    x = torch.randn(2, 3, 9, 8)
    graph = exported(prune(network, x).model, x, "batch")
    before, _ = graph.with_passes([])
    after, records = graph.with_passes([pass_named("norm_of_shared")])
    assert [record.count for record in records] == [1]
    assert (norms_of_convolutions(before), norms_of_convolutions(after)) == (1, 0)
    assert len(after.graph.node) == len(before.graph.node) + 1
    with torch.no_grad():
        exact = float64_copy(network)(x.double())
    for model in (before, after):
        error = float((outputs(model, x)[0].double() - exact).abs().max())
        assert error <= 2e-6 * float(exact.abs().max())


def test_what_no_one_else_uses_stays() -> None:
    layer = randomize_layer(SSN2d(4))
    layer.fix(Normalizer.IN, Normalizer.BN)
    network = Shared(nn.Sequential(nn.ReLU(), layer), shared=False).eval()
    x = torch.randn(2, 3, 5, 4)
    model, records = exported(prune(network, x).model, x, "batch").with_passes(
        [pass_named("norm_of_shared")]
    )
    assert records == ()
    assert "BatchNormalization" in [node.op_type for node in model.graph.node]
