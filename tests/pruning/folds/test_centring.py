"""The bias before IN/IN has no effect on the output, so it centres the input."""

from __future__ import annotations

import pytest
import torch
from fold_checks import X, after_conv, conv, folds, pruned
from networks import IN, Lambda, relative_error, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import SSN2d, prune
from ssn_prune.normalizer import NormalizerPair

IN_IN = NormalizerPair(IN, IN)


@pytest.mark.parametrize("biased", [True, False])
def test_the_bias_centres_what_the_layer_is_given(biased: bool) -> None:
    layer, preceding = trained_layer(4, IN_IN).double(), conv(bias=biased).double()
    result = pruned(nn.Sequential(preceding, layer))
    assert folds(result) == [("centring", "0")]
    assert torch.equal(result.model[0].weight, preceding.weight)
    with torch.no_grad():
        assert float(result.model[0](X).mean((0, 2, 3)).abs().max()) < 1e-12
        expected = after_conv(preceding, layer, IN_IN)(X)
        assert relative_error(result.model(X), expected) < 1e-13


def test_layers_without_running_statistics_are_centred_too() -> None:
    layer = SSN2d(4, normalizers=("IN", "LN"))
    with torch.no_grad():
        for gate, fixed in (
            (layer.mean_weight, layer.mean_fixed),
            (layer.var_weight, layer.var_fixed),
        ):
            gate.copy_(torch.tensor([1.0, 0.0]))
            fixed.fill_(1)
    result = pruned(nn.Sequential(conv(), layer))
    assert folds(result) == [("centring", "0")]


def test_a_bias_that_is_not_the_modules_own_is_refused() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.n(F.conv2d(x, m.c.weight))

    network = Lambda(forward, c=conv(bias=False), n=trained_layer(4, IN_IN)).double().eval()
    report = prune(network, X).report.layers[0]
    assert report.reason_code == "bias_cannot_be_replaced"
