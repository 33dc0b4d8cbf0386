"""All nine pairs: exact in float64, folded where they should be, and lean in ONNX."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from networks import BN, IN, LN, PairNetwork, relative_error, trained_layer
from torch import nn

from ssn_prune import export_onnx, prune
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.pruning.rewrite import apply_plan
from ssn_prune.surgery.float64 import float64_copy

# Nodes that one layer may add, with and without a preceding convolution (BN/BN: with).
BUDGET = {"IN/IN": 1, "IN/BN": 3, "LN/BN": 6, "BN/IN": 9, "LN/IN": 12}
LN_VARIANCE_BUDGET = 17
FOLDS_BEHIND_A_CONV = {"IN/IN", "IN/BN", "LN/BN", "BN/IN", "BN/LN", "BN/BN"}


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("conv_bias", [False, True])
@pytest.mark.parametrize("follows_conv", [False, True])
def test_every_pair_is_exact_in_float64(
    correction: int, conv_bias: bool, follows_conv: bool
) -> None:
    network = PairNetwork(correction, conv_bias, follows_conv).eval()
    x = torch.randn(2, 3, 10, 8)
    result = prune(network, x)
    wide = float64_copy(network)
    with torch.no_grad():
        expected = wide(x.double())
        actual = apply_plan(result.plan, wide)(x.double())
        unfolded = prune(wide, x.double(), fold=False).model(x.double())
    assert relative_error(actual, expected) < 1e-13
    assert relative_error(unfolded, expected) < 1e-13
    folded = {str(layer.pair) for layer in result.plan.layers if layer.fold is not None}
    assert folded == (FOLDS_BEHIND_A_CONV if follows_conv else set())
    assert all((layer.fold is None) != (layer.refusal is None) for layer in result.plan.layers)


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("follows_conv", [False, True])
def test_every_pair_stays_within_its_node_budget(
    correction: int, follows_conv: bool, tmp_path: Path
) -> None:
    network = PairNetwork(correction, conv_bias=False, follows_conv=follows_conv).eval()
    x = torch.randn(2, 3, 10, 8)
    result = prune(network, x)
    export_onnx(result.model, x, tmp_path / "m.onnx")
    nodes = onnx.load(tmp_path / "m.onnx").graph.node
    per_layer = Counter(node.name.split("/")[0] for node in nodes)
    for index, pair in enumerate(ALL_PAIRS):
        count = per_layer[f"layers.{index}"]
        if pair == NormalizerPair(BN, BN):
            assert count == (0 if follows_conv else 1)
        else:
            assert 0 < count <= BUDGET.get(str(pair), LN_VARIANCE_BUDGET), str(pair)
    kinds = Counter(node.op_type for node in nodes)
    assert kinds["InstanceNormalization"] == 1
    assert kinds["Conv"] == 9


def test_only_selected_statistics_are_computed(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), trained_layer(4, NormalizerPair(IN, BN))).eval()
    x = torch.randn(2, 3, 8, 8)
    stats = export_onnx(prune(network, x).model, x, tmp_path / "m.onnx")
    assert stats.operators == {"Conv": 1, "ReduceMean": 1, "Sub": 1, "Add": 1}


@pytest.mark.parametrize("variance", [IN, LN])
def test_a_corrected_variance_of_one_position_is_refused_by_name(variance: int) -> None:
    from ssn_prune.errors import UndefinedVarianceError

    layer = trained_layer(4, NormalizerPair(BN, variance), correction=1)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), layer).eval()
    with pytest.raises(UndefinedVarianceError) as caught:
        prune(network, torch.randn(2, 3, 8, 8))
    assert caught.value.layers == ("2",)


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
@pytest.mark.parametrize("correction", [0, 1])
def test_pairs_that_are_defined_on_one_position_convert_exactly(
    pair: NormalizerPair, correction: int
) -> None:
    if correction and pair.var is not BN:
        return  # refused: see above
    layer = trained_layer(4, pair, correction=correction)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), layer).double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        y = network(x)
        assert bool(torch.isfinite(y).all())
        assert relative_error(prune(network, x).model(x), y) < 1e-13
        assert relative_error(prune(network, x, fold=False).model(x), y) < 1e-13
