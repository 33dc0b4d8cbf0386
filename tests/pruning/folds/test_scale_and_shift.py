"""BN/BN moves into the preceding convolution, of every kind, and layers after it see through."""

from __future__ import annotations

import pytest
import torch
from fold_checks import (
    BN_BN,
    X,
    after_conv,
    assert_close,
    conv,
    folds,
    pruned,
    scale_by_hand,
)
from networks import BN, IN, LN, relative_error, trained_layer
from torch import nn

from ssn_prune import prune
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair


@pytest.mark.parametrize("biased", [True, False])
def test_kernel_and_bias_are_those_of_the_algebra(biased: bool) -> None:
    """s W and (b - mean) s + beta, entry by entry; the outputs are those of the paper."""
    layer, preceding = trained_layer(4, BN_BN).double(), conv(bias=biased).double()
    result = pruned(nn.Sequential(preceding, layer))
    scale = scale_by_hand(layer)
    bias = preceding.bias if biased else torch.zeros(4, dtype=torch.float64)
    assert_close(result.model[0].weight, preceding.weight * scale.view(-1, 1, 1, 1))
    assert_close(result.model[0].bias, (bias - layer.running_mean) * scale + layer.bias)
    assert isinstance(result.model[1], nn.Identity)
    with torch.no_grad():
        expected = after_conv(preceding, layer, BN_BN)(X)
        assert relative_error(result.model(X), expected) < 1e-13


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_a_layer_sees_through_one_that_folded_away(pair: NormalizerPair) -> None:
    network = nn.Sequential(conv(), trained_layer(4, BN_BN), trained_layer(4, pair, 1))
    alone = nn.Sequential(conv(), trained_layer(4, pair, 1))
    found, expected = folds(pruned(network)), folds(pruned(alone))
    assert found == [("scale_and_shift", "0"), expected[0]]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_transposed_convolutions_fold_on_axis_one_within_groups(groups: int, bias: bool) -> None:
    conv = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups, bias=bias)
    for pair in (NormalizerPair(BN, BN), NormalizerPair(LN, BN), NormalizerPair(IN, BN)):
        network = nn.Sequential(conv, trained_layer(6, pair)).double().eval()
        x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
        result = prune(network, x)
        assert result.report.layers[0].folded_into == "0"
        with torch.no_grad():
            assert relative_error(result.model(x), network(x)) < 1e-13


def test_dilated_grouped_and_reflecting_convolutions_fold() -> None:
    options = [{"dilation": 2}, {"groups": 3}, {"padding": 2, "padding_mode": "reflect"}]
    for option in [*options, {"stride": 2, "padding": 1}]:
        conv = nn.Conv2d(3, 6, 3, **option)
        network = nn.Sequential(conv, trained_layer(6, NormalizerPair(BN, BN))).double().eval()
        x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
        result = prune(network, x)
        assert isinstance(result.model[1], nn.Identity)
        with torch.no_grad():
            assert relative_error(result.model(x), network(x)) < 1e-13


def test_a_fold_that_would_overflow_half_precision_is_refused() -> None:
    layer = trained_layer(4, NormalizerPair(BN, BN))
    with torch.no_grad():
        layer.running_var.fill_(1e-4)
        layer.weight.fill_(60000.0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), layer).eval()
    x = torch.randn(2, 3, 8, 8)
    assert prune(network, x).report.layers[0].fold is not None
    half = prune(network.half(), x.half())
    assert half.report.layers[0].reason_code == "scale_out_of_range"
