"""1-d, 3-d and (N, C) networks in ONNX, and a residual video network end to end."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from dimension_networks import (
    KINDS,
    Branches,
    TinyVideoNetwork,
    all_pairs,
    one_hot_layer,
    randomize_layer,
    sample,
)
from networks import IN, LN
from torch import Tensor, nn

from ssn_prune import convert, export_onnx, load_checkpoint, prune, random_batches, verify
from ssn_prune.errors import VerificationError
from ssn_prune.nn.ssn import SSN1d, SSN3d
from ssn_prune.nn.switch_norm import SwitchNorm3d
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.pruning.plan import LayerPlan, Plan
from ssn_prune.verification.verify import require_passed


class AdjacentAndElsewhere(nn.Module):
    """Every pair directly after its producer, with one kind of variance, and elsewhere."""

    def __init__(self, kind: str, correction_adjacent: int) -> None:
        super().__init__()
        for name, adjacent in (("adjacent", True), ("elsewhere", False)):
            correction = correction_adjacent if adjacent else 1 - correction_adjacent
            pairs = all_pairs(kind, correction)
            layers = [one_hot_layer(kind, p, i, correction=correction) for i, p in enumerate(pairs)]
            self.add_module(name, Branches(kind, layers, adjacent, bias=False))

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.adjacent(x) + self.elsewhere(x)


@pytest.mark.parametrize(
    ("kind", "correction_adjacent"), [("vectors", 0), ("1d", 0), ("3d", 1)], ids=["vec", "1d", "3d"]
)
def test_every_pair_exports_and_verifies(
    kind: str, correction_adjacent: int, tmp_path: Path
) -> None:
    network = AdjacentAndElsewhere(kind, correction_adjacent).eval()
    x = sample(kind, dtype=torch.float32)
    result = prune(network, x)
    stats = export_onnx(result.model, x, tmp_path / "m.onnx")
    report = verify(result, tmp_path / "m.onnx", random_batches([KINDS[kind][2]], (1, 2, 3)))
    require_passed(report)
    assert report.algebra is not None
    assert report.rounding is not None
    nodes = Counter(
        node.name.rpartition("/")[0] for node in onnx.load(tmp_path / "m.onnx").graph.node
    )
    count = {
        str(p.pair): nodes[p.name] for p in result.plan.layers if p.name.startswith("adjacent")
    }
    assert count["BN/BN"] == 0
    in_two_steps = kind == "3d"  # the mean of a volume
    assert count["IN/BN"] <= 3 + in_two_steps
    assert count["LN/BN"] <= 6 + in_two_steps
    if kind != "vectors":
        assert count["IN/IN"] == 1
        assert stats.operators["InstanceNormalization"] == 2


def test_the_weighted_form_exports_and_verifies(tmp_path: Path) -> None:
    layer = randomize_layer(SwitchNorm3d(6))
    network = Branches("3d", [layer], adjacent=True).eval()
    x = sample("3d", dtype=torch.float32)
    result = prune(network, x, on_unconverged="exact")
    export_onnx(result.model, x, tmp_path / "m.onnx")
    batches = random_batches([KINDS["3d"][2]], (1, 2, 3))
    require_passed(verify(result, tmp_path / "m.onnx", batches))


def test_instance_norm_of_one_position_is_exact_in_onnx(tmp_path: Path) -> None:
    """A runtime's InstanceNormalization rounds x and its mean apart, times up to 1/sqrt(eps)."""
    layer = one_hot_layer("2d", NormalizerPair(IN, IN))
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 6, 1), layer).eval()
    batches = random_batches([KINDS["2d"][2]], (1, 2, 3))
    result = prune(network, batches[1])
    export_onnx(result.model, batches[1], tmp_path / "m.onnx")
    report = verify(result, tmp_path / "m.onnx", batches)
    require_passed(report)
    assert report.rounding is not None
    assert report.rounding.max_error == 0


class VideoBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = SSN3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.norm2 = SSN3d(outputs)
        self.shortcut = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride), SSN3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class VideoNetwork(nn.Module):
    """A residual block over (N, 2, D, H, W), a head with SSN1d on sequences and vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(2, 6, 3, padding=1, bias=False)
        self.norm = SSN3d(6)
        self.blocks = nn.Sequential(VideoBlock(6, 8, 2))
        self.temporal = nn.Conv1d(8, 8, 3, padding=1)
        self.temporal_norm = SSN1d(8)
        self.hidden = nn.Linear(8, 10)
        self.hidden_norm = SSN1d(10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(torch.relu(self.norm(self.stem(x)))).mean((3, 4))
        x = torch.relu(self.temporal_norm(self.temporal(x))).mean(2)
        return self.head(torch.relu(self.hidden_norm(self.hidden(x))))


def video_network(seed: int) -> VideoNetwork:
    """Random one-hot pairs, and values as after training."""
    torch.manual_seed(seed)
    model = VideoNetwork()
    layers = [m for m in model.modules() if isinstance(m, SSN1d | SSN3d)]
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed)).tolist()
    for index, layer in enumerate(layers):
        randomize_layer(layer, seed + index)
        pair = ALL_PAIRS[order[index % 9]]
        if layer is model.hidden_norm and pair.mean is IN:  # constant on vectors
            pair = NormalizerPair(LN, pair.var)
        layer.fix(pair.mean, pair.var)
        layer.correction = index % 2 if layer is not model.hidden_norm else 0
    return model.eval()


def test_a_residual_video_network_end_to_end(tmp_path: Path) -> None:
    model = video_network(0)
    batches = random_batches([(2, 6, 8, 7)], (1, 2, 3))
    result = prune(model, batches[1])
    assert len({str(layer.pair) for layer in result.plan.layers}) >= 5
    assert {type(module).__name__[-2:] for module in result.model.modules()} >= {"1d", "3d"}
    export_onnx(result.model, batches[1], tmp_path / "m.onnx")
    report = verify(result, tmp_path / "m.onnx", batches)
    require_passed(report)
    assert report.algebra is not None
    assert report.algebra.worst_layer_error < 1e-12
    # Negative controls: another network's file, and one mistake in each layer of the plan.
    other = prune(video_network(1), batches[1])
    assert not verify(other, tmp_path / "m.onnx", batches, algebra=False).passed
    wrong_plans = {layer.name: plan for layer in result.plan.layers if (plan := altered(layer))}
    assert len(wrong_plans) >= 3
    for name, layer in wrong_plans.items():
        layers = (layer if planned.name == name else planned for planned in result.plan.layers)
        wrong = dataclasses.replace(result, plan=Plan(tuple(layers)))
        with pytest.raises(VerificationError) as caught:
            require_passed(verify(wrong, None, batches, rounding=False))
        assert caught.value.layer == name


def altered(layer: LayerPlan) -> LayerPlan | None:
    """The plan of a layer with its scale's fold lost, or with its ratios exchanged."""
    if layer.fold is not None and layer.fold.code in ("scale_and_shift", "scale"):
        return dataclasses.replace(layer, fold=None)
    if layer.fold is None and layer.form == "moments":
        swapped = {"mean_ratios": layer.var_ratios, "var_ratios": layer.mean_ratios}
        return dataclasses.replace(layer, **swapped)
    return None


def test_a_checkpoint_of_a_video_network_converts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TinyVideoNetwork()
    randomize_layer(model.norm)
    model.norm.fix(IN, LN)
    torch.save(model.state_dict(), tmp_path / "net.pth")
    arch = "dimension_networks:TinyVideoNetwork"
    loaded = load_checkpoint(tmp_path / "net.pth", arch=arch, input_size=(6, 5, 4))
    assert loaded.input_size == (2, 6, 5, 4)
    report = convert(loaded, tmp_path / "m.onnx")
    assert report.verification is not None
    assert report.verification.passed
    assert report.onnx is not None
    assert report.onnx.inputs == {"input": ["batch", 2, 6, 5, 4]}
