"""The reference ResNet end to end: lean graphs that equal the norm-free network where they can."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from networks import BN, IN, random_selection, settle_statistics
from torch import nn

from ssn_prune import convert, export_onnx, load_checkpoint, prune
from ssn_prune.architectures.registry import REFERENCE_NETWORKS, find_architecture
from ssn_prune.errors import NoSwitchableLayerError, UndefinedVarianceError
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.surgery.copying import replace_modules

BUDGET = {"BN/BN": 0, "IN/IN": 1, "IN/BN": 3, "LN/BN": 6, "BN/IN": 9, "LN/IN": 12}
X = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def resnet18(pairs: list[NormalizerPair]) -> nn.Module:
    torch.manual_seed(0)
    model = find_architecture("resnetv1ssn18", trusted=True).build(num_classes=4)
    return settle_statistics(random_selection(model, pairs), X)


@pytest.fixture(scope="module")
def norm_free_operators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    model = find_architecture("resnetv1ssn18", trusted=True).build(num_classes=4)
    layers = [m for m in model.modules() if isinstance(m, SwitchableNorm)]
    replace_modules(model, [(layer, nn.Identity()) for layer in layers])
    return export_onnx(model, X, tmp_path_factory.mktemp("free") / "m.onnx").operators


def test_all_batch_norms_leave_the_operators_of_the_norm_free_network(
    norm_free_operators: dict[str, int], tmp_path: Path
) -> None:
    pruned = prune(resnet18([NormalizerPair(BN, BN)]), X)
    assert all(layer.form == "Identity" for layer in pruned.report.layers)
    assert export_onnx(pruned.model, X, tmp_path / "m.onnx").operators == norm_free_operators


def test_all_instance_norms_add_one_operator_per_layer(
    norm_free_operators: dict[str, int], tmp_path: Path
) -> None:
    pruned = prune(resnet18([NormalizerPair(IN, IN)]), X)
    operators = export_onnx(pruned.model, X, tmp_path / "m.onnx").operators
    assert operators == {**norm_free_operators, "InstanceNormalization": 20}


def test_a_checkpoint_in_the_reference_layout_converts_with_no_option(
    norm_free_operators: dict[str, int], tmp_path: Path
) -> None:
    model = resnet18(list(ALL_PAIRS))
    layers = {name for name, module in model.named_modules() if isinstance(module, SSN2d)}
    shapes = {"weight": (1, -1, 1, 1), "bias": (1, -1, 1, 1)}
    shapes |= {"running_mean": (1, -1, 1), "running_var": (1, -1, 1)}
    state = {}
    for key, value in model.state_dict().items():
        layer, _, leaf = key.rpartition(".")
        if leaf != "_extra_state":
            reshaped = value.reshape(shapes[leaf]) if layer in layers and leaf in shapes else value
            state[f"module.{key}"] = reshaped
    path = tmp_path / "model.pth-42"
    torch.save(
        {"epoch": 42, "model": "resnetv1ssn18", "state_dict": state, "best_prec1": 1.0}, path
    )
    report = convert(load_checkpoint(path), tmp_path / "m.onnx")
    assert report.verification is not None
    assert report.verification.passed
    assert report.onnx is not None
    per_layer = [f"{layer.mean.choice}/{layer.var.choice}" for layer in report.layers]
    assert len(set(per_layer)) == 9
    allowed = sum(norm_free_operators.values()) + sum(BUDGET.get(p, 17) for p in per_layer)
    assert report.onnx.nodes <= allowed
    names = Counter(node.name.split("/")[0] for node in onnx.load(tmp_path / "m.onnx").graph.node)
    for layer, pair in zip(report.layers, per_layer, strict=True):
        assert names[layer.name] <= BUDGET.get(pair, 17)


@pytest.mark.parametrize("name", REFERENCE_NETWORKS)
def test_the_reference_networks_have_their_layers(name: str) -> None:
    with torch.device("meta"):
        model = find_architecture(name, trusted=True).build(num_classes=7)
    kind = SSN2d if "ssn" in name else SwitchNorm2d
    layers = [module for module in model.modules() if isinstance(module, SwitchableNorm)]
    expected = {18: 20, 34: 36, 50: 53, 101: 104, 152: 155}[int(name.split("sn")[-1])]
    assert len(layers) == expected
    assert all(type(layer) is kind and layer.correction == 1 for layer in layers)
    assert not any(m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d))
    padding = (0, True) if kind is SSN2d else (1, False)
    assert (model.maxpool.padding, model.maxpool.ceil_mode) == padding


def test_a_torchvision_network_converts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = find_architecture("torchvision:mobilenet_v2", trusted=True).build(num_classes=5)
    x = torch.randn(2, 3, 96, 96)
    settle_statistics(random_selection(model), x)
    path = tmp_path / "mobile.pth"
    torch.save({"arch": "torchvision:mobilenet_v2", "state_dict": model.state_dict()}, path)
    loaded = load_checkpoint(path, input_size=(96, 96))
    assert loaded.source.arch_args == {"num_classes": 5}
    report = convert(loaded, tmp_path / "m.onnx")
    assert report.verification is not None
    assert report.verification.passed
    assert len(report.layers) == 52


def test_a_network_without_batch_norm_gets_a_clear_message() -> None:
    with pytest.raises(NoSwitchableLayerError) as caught:
        find_architecture("torchvision:convnext_tiny", trusted=True).build()
    assert "LayerNorm2d" in str(caught.value.found)
    assert "channels only" in str(caught.value.hint)


class PoolingBranch(nn.Module):
    """DeepLab's image pooling: a norm over a 1x1 map."""

    def __init__(self, pair: NormalizerPair, correction: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = SSN2d(4)
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1, bias=False), SSN2d(4), nn.ReLU()
        )
        random_selection(self.norm, [NormalizerPair(BN, BN)])
        random_selection(self.pool, [pair])
        self.pool[2].correction = correction

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.body(x)))
        return y + nn.functional.interpolate(self.pool(y), size=y.shape[2:], mode="bilinear")


@pytest.mark.parametrize("correction", [0, 1])
def test_a_pooling_branch_of_one_position(correction: int) -> None:
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    for pair in ALL_PAIRS:
        torch.manual_seed(0)
        model = PoolingBranch(pair, correction).double().eval()
        if correction and pair.var is not BN:
            with pytest.raises(UndefinedVarianceError, match=r"pool\.2"):
                prune(model, x)
            continue
        with torch.no_grad():
            difference = (prune(model, x).model(x) - model(x)).abs().max()
        assert float(difference) < 1e-12
