"""The scale of a BN variance moves into the preceding convolution; the mean stays."""

from __future__ import annotations

import pytest
import torch
from fold_checks import X, after_conv, assert_close, conv, folds, pruned, scale_by_hand
from networks import BN, IN, LN, relative_error, trained_layer
from torch import nn

from ssn_prune import prune
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("mean", [IN, LN])
def test_kernel_and_bias_are_those_of_the_algebra(mean: int, biased: bool) -> None:
    pair = NormalizerPair(mean, BN)
    layer, preceding = trained_layer(4, pair).double(), conv(bias=biased).double()
    result = pruned(nn.Sequential(preceding, layer))
    assert folds(result) == [("scale", "0")]
    scale, folded = scale_by_hand(layer), result.model[0]
    assert_close(folded.weight, preceding.weight * scale.view(-1, 1, 1, 1))
    if mean is LN:  # the bias is part of the mean
        assert (folded.bias is not None) == biased
        if biased:
            assert_close(folded.bias, preceding.bias * scale)
    with torch.no_grad():
        expected = after_conv(preceding, layer, pair)(X)
        assert relative_error(result.model(X), expected) < 1e-13


def test_the_input_of_what_is_left_of_an_instance_mean_is_centred() -> None:
    layer, preceding = trained_layer(4, NormalizerPair(IN, BN)), conv()
    with torch.no_grad():
        preceding.bias.fill_(100.0)
    result = pruned(nn.Sequential(preceding, layer))
    with torch.no_grad():
        means = result.model[0](X).mean((0, 2, 3))
    assert float(means.abs().max()) < 1e-9


def test_zero_gamma_folds_only_where_the_scale_need_not_be_undone() -> None:
    for pair, expected in (("BN/BN", True), ("IN/BN", True), ("LN/BN", False)):
        chosen = next(p for p in ALL_PAIRS if str(p) == pair)
        layer = trained_layer(4, chosen, zero_gamma=True)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), layer).double().eval()
        x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        result = prune(network, x)
        assert (result.report.layers[0].fold is not None) == expected
        if not expected:
            assert result.report.layers[0].reason_code == "scale_out_of_range"
        with torch.no_grad():
            assert relative_error(result.model(x), network(x)) < 1e-13
