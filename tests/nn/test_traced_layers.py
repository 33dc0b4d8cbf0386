"""Networks with their gates in torch's tracers and exporters: right, or told to prune first."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnxruntime
import pytest
import torch
from helpers import one_hot_gates, randomize
from torch import Tensor, nn

from ssn_prune import SSN2d, SwitchNorm2d, export_onnx, freeze_selected
from ssn_prune.errors import ExportError
from ssn_prune.nn.sparsestmax import sparsestmax

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(3, 3, 11, 7, generator=torch.Generator().manual_seed(1))


def network(kind: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    layer = (SwitchNorm2d if kind == "softmax" else SSN2d)(4, **options)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.5, 0.1, -0.2])[: len(layer.normalizers)])
        layer.var_weight.copy_(torch.tensor([0.2, 0.3, 0.3])[: len(layer.normalizers)])
    if kind == "soft":
        layer.radius.fill_(0.4)
    if kind == "one-hot":
        one_hot_gates(layer, 0, 2)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.ReLU()).eval()
    randomize(model)
    return model


KINDS = ("one-hot", "soft", "softmax")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("correction", [0, 1])
def test_a_traced_network_gives_the_same_at_every_size(kind: str, correction: int) -> None:
    model = network(kind, correction=correction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(model, X)
    torch.testing.assert_close(traced(X), model(X), rtol=0, atol=1e-6)
    if correction == 0:
        torch.testing.assert_close(traced(OTHER), model(OTHER), rtol=0, atol=1e-6)


def test_a_frozen_selection_is_traced() -> None:
    model = freeze_selected(network("one-hot")).model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(model, X)
    torch.testing.assert_close(traced(OTHER), model(OTHER), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_exporter_writes_the_gates(kind: str, tmp_path: Path) -> None:
    model, path = network(kind), tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (X,), path, dynamo=True, verbose=False, input_names=["x"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": X.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tracing_exporter_says_to_prune_first(kind: str, tmp_path: Path) -> None:
    model = network(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ExportError, match="prune it first"):
            torch.onnx.export(model, (X,), tmp_path / "m.onnx", dynamo=False)


@pytest.mark.parametrize("kind", KINDS)
def test_our_export_says_to_prune_first(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="prune it first") as caught:
        export_onnx(network(kind), X, tmp_path / "m.onnx")
    assert "1 of them: 1" in caught.value.found
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [2, 3, 5])
def test_exported_gates_break_ties_as_others_do(count: int) -> None:
    """Every order of up to three different logits, ties included."""

    class Gate(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return sparsestmax(z, 0.6)

    rows = torch.cartesian_prod(*[torch.tensor([0.0, 0.25, 1.0])] * count)
    exported = torch.export.export(Gate(), (rows,)).module()
    assert torch.equal(exported(rows), sparsestmax(rows, 0.6))
