"""Reductions over more than two axes become steps of two: what OpenCV 4 reads right."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
import torch
from graph_passes import exported, outputs, pass_named
from torch import Tensor, nn


class Code(nn.Module):
    """Some code of a user."""

    def __init__(self, code: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.code = code

    def forward(self, x: Tensor) -> Tensor:
        return self.code(torch.relu(x) + 1)


def reduced_axes(model: onnx.ModelProto) -> list[int]:
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    nodes = [node for node in model.graph.node if node.op_type.startswith("Reduce")]
    return [sizes[node.input[1]] for node in nodes]


@pytest.mark.parametrize(
    ("code", "steps"),
    [
        (lambda x: x.mean((2, 3, 4), keepdim=True), [2, 1]),
        (lambda x: x.mean((-1, -2, -3)), [2, 1]),
        (lambda x: x.mean((1, 3, 4)), [2, 1]),
        (lambda x: x.sum((1, 2, 3, 4)), [2, 2]),
        (lambda x: x.amax((2, 3, 4), keepdim=True), [2, 1]),
        (lambda x: x.amin((1, 2, 3, 4), keepdim=True), [2, 2]),
        (nn.AdaptiveAvgPool3d(1), [2, 1]),
    ],
)
@pytest.mark.parametrize("dynamic", ["batch", "spatial"])
def test_the_same_number_in_steps(
    code: Callable[[Tensor], Tensor], steps: list[int], dynamic: str
) -> None:
    x = torch.randn(2, 3, 4, 5, 6)
    graph = exported(Code(code), x, dynamic)
    before, _ = graph.with_passes([])
    after, records = graph.with_passes([pass_named("two_axes")])
    assert [record.count for record in records] == [1]
    assert reduced_axes(before) == [sum(steps)]
    assert reduced_axes(after) == steps
    exact = code(torch.relu(x.double()) + 1)
    for value in (*outputs(after, x), *outputs(before, x)):
        assert value.shape == exact.shape
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x.mean((3, 4)),
        lambda x: x.sum((2, 4), keepdim=True),
        lambda x: torch.linalg.vector_norm(x, dim=(2, 3, 4)),  # a norm of norms is one, too
    ],
)
def test_other_reductions_stay(code: Callable[[Tensor], Tensor]) -> None:
    graph = exported(Code(code), torch.randn(2, 3, 4, 5, 6), "batch")
    before, _ = graph.with_passes([])
    after, records = graph.with_passes([pass_named("two_axes")])
    assert records == ()
    assert after.graph.node == before.graph.node
