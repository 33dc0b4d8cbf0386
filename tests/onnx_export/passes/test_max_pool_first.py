"""Max pooling moves before what is monotone, and gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graph_passes import exported, outputs, passes_of
from networks import IN, LN, trained_layer
from torch import Tensor, nn

from ssn_prune import export_onnx, prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export import translate
from ssn_prune.onnx_export.passes.table import PASSES


class Stem(nn.Module):
    """A convolution, something, a pooling and a head."""

    def __init__(self, between: Callable[[Tensor], Tensor], pool: nn.Module) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3, padding=1), pool
        self.between, self.head = between, nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.between(self.conv(x))))


def _exported(
    network: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch, *, swap: bool
) -> tuple[list[str], np.ndarray]:
    x = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    path = folder / f"{swap}.onnx"
    with monkeypatch.context() as patch:
        passes = [entry for entry in PASSES if swap or entry.code != "max_pool_first"]
        patch.setattr(translate, "PASSES", passes)
        export_onnx(network.eval(), x, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    return kinds[:-1], session.run(None, {"input": x.numpy()})[0]


def _scaled(weight: float) -> Callable[[Tensor], Tensor]:
    def between(x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        deviation = (x.mean((1, 2, 3), keepdim=True).abs() + 1).sqrt()
        return torch.relu((x - mean) * (torch.full((4, 1, 1), weight) / deviation) + 0.3)

    return between


POOLS = {
    "padded": nn.MaxPool2d(3, 2, padding=1),
    "ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("between", [torch.relu, _scaled(0.7), _scaled(0.0)])
def test_the_same_bits_from_fewer_entries(
    between: Callable[[Tensor], Tensor],
    pool: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Stem(between, POOLS[pool])
    before, expected = _exported(network, tmp_path, monkeypatch, swap=False)
    after, found = _exported(network, tmp_path, monkeypatch, swap=True)
    assert before[-1] == "MaxPool"
    assert after[-1] == "Relu"
    assert sorted(before) == sorted(after)
    assert np.array_equal(found, expected)


def test_one_sample_scaled_by_a_batch_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norm = nn.BatchNorm2d(4)
    norm.running_var.uniform_(0.5, 2)
    network = Stem(lambda x: torch.relu(norm(torch.relu(x))), POOLS["padded"])
    network.norm = norm
    before, expected = _exported(network, tmp_path, monkeypatch, swap=False)
    after, found = _exported(network, tmp_path, monkeypatch, swap=True)
    assert before == ["Conv", "Relu", "BatchNormalization", "Relu", "MaxPool"]
    assert after == ["Conv", "MaxPool", "Relu", "BatchNormalization", "Relu"]
    assert np.array_equal(found, expected)


class Forked(Stem):
    """What is pooled is also used elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(self.conv(x))
        return y.mean() + self.head(self.pool(y))


def test_what_is_used_elsewhere_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Forked(torch.relu, POOLS["padded"])
    before, expected = _exported(network, tmp_path, monkeypatch, swap=False)
    after, found = _exported(network, tmp_path, monkeypatch, swap=True)
    assert after == before
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("between", "pool"),
    [
        (_scaled(-0.7), POOLS["padded"]),  # only the ReLU and the sum are monotone
        (torch.sin, POOLS["padded"]),
        (torch.relu, nn.AvgPool2d(2)),
        (torch.relu, nn.MaxPool2d(3, 1)),  # nothing to gain
        (lambda x: torch.relu(x) * torch.arange(10.0), nn.MaxPool2d(2)),  # differs in a plane
    ],
)
def test_what_is_not_monotone_stays(
    between: Callable[[Tensor], Tensor],
    pool: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Stem(between, pool)
    before, expected = _exported(network, tmp_path, monkeypatch, swap=False)
    after, found = _exported(network, tmp_path, monkeypatch, swap=True)
    assert np.array_equal(found, expected)
    last = [kind for kind in after if kind in ("Relu", "Mul", "Sin", "MaxPool", "AveragePool")]
    if "Mul" in before and before[-2:] == ["Relu", "MaxPool"]:
        assert last.index("Mul") < last.index("MaxPool")
    else:
        assert after == before


def test_a_layer_in_scale_and_shift_form_runs_on_the_pooled_tensor() -> None:
    torch.manual_seed(0)
    layer = trained_layer(16, NormalizerPair(LN, IN))
    layer.weight.data.abs_()  # a negative scale is not monotone
    parts = (nn.Conv2d(3, 16, 3), layer, nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(16, 2, 1))
    x = torch.randn(2, 3, 70, 70)
    graph = exported(prune(nn.Sequential(*parts).eval(), x).model, x, "batch")
    model, records = graph.with_passes(passes_of("onnxruntime"))
    assert [record.code for record in records] == ["scale_and_shift", "max_pool_first"]
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[-5:] == ["MaxPool", "Mul", "Add", "Relu", "Conv"]
    (value,), (old,) = outputs(model, x), outputs(graph.with_passes([])[0], x)
    torch.testing.assert_close(value, old, rtol=0, atol=2e-6 * float(old.abs().max()))
