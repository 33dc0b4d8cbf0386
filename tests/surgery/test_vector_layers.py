"""The reference SwitchNorm1d: (N, C) inputs, gates over LN and BN, tensors (1, C)."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_checks import run_cli
from foreign_networks import checked
from torch import Tensor, nn
from unlike_layers import VectorSwitch

from ssn_prune import (
    ConvertOptions,
    SSN1d,
    SwitchNorm1d,
    convert,
    load_checkpoint,
    prune,
    select,
)
from ssn_prune.errors import ArgumentError, UnsupportedLayerError
from ssn_prune.normalizer import Normalizer
from ssn_prune.surgery.from_reference import adopt_layers

LN, BN = 0, 1
PAIRS = list(product((LN, BN), (LN, BN)))


class Perceptron(nn.Module):
    """Its only norms are such layers."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(6, 8), VectorSwitch(8, **options)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))


def perceptron(mean: int, var: int) -> nn.Module:
    return Perceptron(one_hot=(mean, var), frozen=True).eval()


X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("mean", "var"), PAIRS)
def test_every_pair_is_right(mean: int, var: int) -> None:
    model = perceptron(mean, var)
    check = checked(model, X)
    assert (check.compared, check.precision) == (True, "float64")
    result = prune(model, X)
    (layer,) = result.report.layers
    assert str(result.plan.layers[0].pair) == f"{('LN', 'BN')[mean]}/{('LN', 'BN')[var]}"
    assert layer.correction == 2
    assert isinstance(result.model.norm, nn.Identity) == ((mean, var) == (BN, BN))


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
@pytest.mark.parametrize("channels", [2, 8])
def test_soft_gates_are_right(channels: int, eps: float) -> None:
    torch.manual_seed(0)
    layers = nn.Linear(6, channels), VectorSwitch(channels, eps=eps), nn.Linear(channels, 4)
    model = nn.Sequential(*layers).eval()
    assert adopt_layers(model)[1].eps == eps
    checked(model, X)


def test_biased_variances_are_told_apart() -> None:
    class Biased(VectorSwitch):
        def forward(self, x: Tensor) -> Tensor:
            count = x.shape[1]
            scaled = 1 - 1 / count
            p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
            mean = p[0] * x.mean(1, keepdim=True) + p[1] * self.running_mean
            var = q[0] * x.var(1, keepdim=True) * scaled + q[1] * self.running_var
            return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias

    model = nn.Sequential(nn.Linear(6, 8), Biased(8)).eval()
    assert adopt_layers(model)[1].correction == 0
    checked(model, X)


def test_the_other_order_of_the_gates_is_refused() -> None:
    class BatchFirst(VectorSwitch):
        def forward(self, x: Tensor) -> Tensor:
            p, q = self.mean_weight.softmax(0), self.var_weight.softmax(0)
            mean = p[1] * x.mean(1, keepdim=True) + p[0] * self.running_mean
            var = q[1] * x.var(1, keepdim=True) + q[0] * self.running_var
            return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias

    model = nn.Sequential(nn.Linear(6, 8), BatchFirst(8)).eval()
    with pytest.raises(UnsupportedLayerError) as caught:
        prune(model, X, on_unconverged="exact")
    assert "the gates' order is (BN, LN)" in str(caught.value.hint)


@pytest.mark.parametrize("missing", ["running_mean", "third gate"])
def test_half_of_such_a_layer_is_refused(missing: str) -> None:
    layer = VectorSwitch(8)
    if missing == "running_mean":
        del layer.running_mean
    else:
        layer.mean_weight.data, layer.var_weight.data = torch.ones(3), torch.ones(3)
    with pytest.raises(UnsupportedLayerError, match="cannot be taken over"):
        adopt_layers(nn.Sequential(layer))


def test_after_convolutions() -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 8), VectorSwitch(8), nn.Linear(8, 2)
    checked(nn.Sequential(*layers).eval(), torch.randn(2, 3, 8, 8))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save(Perceptron().state_dict(), path)
    return path


def test_convert_and_verify_on_the_command_line(file: Path) -> None:
    common = ("--arch", f"{__name__}:Perceptron", "--on-unconverged", "exact", "--json")
    target = str(file.with_suffix(".onnx"))
    missing = run_cli("convert", str(file), *common, "-o", target)
    assert missing.exit_code == 2, missing.stdout
    assert "--input-size 64" in missing.stdout
    done = run_cli("convert", str(file), *common, "-o", target, "--input-size", "6")
    assert done.exit_code == 0, done.stdout
    document = json.loads(done.stdout)
    assert document["verification"]["adoption"]["compared"]
    assert document["layers"][0]["correction"] == 2
    again = run_cli("verify", str(file), target, *common, "--input-size", "6")
    assert again.exit_code == 0, again.stdout


@pytest.mark.parametrize("static_batch", [None, 1, 3])
@pytest.mark.parametrize(("mean", "var"), PAIRS)
def test_every_pair_is_exported(
    mean: int, var: int, static_batch: int | None, tmp_path: Path
) -> None:
    torch.save(Perceptron(one_hot=(mean, var), frozen=True).state_dict(), tmp_path / "n.pth")
    loaded = load_checkpoint(
        tmp_path / "n.pth",
        arch=f"{__name__}:Perceptron",
        arch_args={"one_hot": (mean, var), "frozen": True},
        input_size=(6,),
    )
    options = ConvertOptions(static_batch=static_batch)
    assert convert(loaded, tmp_path / "n.onnx", options).verification.passed


def test_inspect_knows_the_normalizers(file: Path) -> None:
    layer = select(Perceptron().state_dict()).layers[0]
    assert layer.mean.ratios[0] == 0
    assert layer.mean.choice is Normalizer.LN
    assert layer.var.choice is Normalizer.BN
    document = json.loads(run_cli("inspect", str(file), "--json").stdout)
    assert document["layers"][0]["mean"]["ratios"]["IN"] == 0


@pytest.mark.parametrize("sparse", [True, False])
def test_our_layers_take_its_state(sparse: bool) -> None:
    given = VectorSwitch(8, one_hot=(LN, BN), frozen=sparse).eval()
    own = (SSN1d if sparse else SwitchNorm1d)(8, normalizers=("LN", "BN"), correction=2).eval()
    own.load_state_dict(given.state_dict())
    x = torch.randn(4, 8)
    with torch.no_grad():
        assert torch.allclose(own(x), given(x), rtol=0, atol=1e-6)
    pruned = prune(nn.Sequential(nn.Linear(6, 8), own), X, on_unconverged="exact")
    assert pruned.report.layers[0].correction == 2


@pytest.mark.parametrize("size", [(6, 6, 6), (0,)])
def test_what_is_no_vector_is_refused(file: Path, size: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError) as caught:
        load_checkpoint(file, arch=f"{__name__}:Perceptron", input_size=size)
    assert "(C)" in str(caught.value.expected)
    assert "`input_size=(64,)`" in str(caught.value.hint)
