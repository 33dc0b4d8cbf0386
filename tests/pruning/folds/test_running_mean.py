"""A BN mean moves into the bias of the preceding convolution; the variance stays."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fold_checks import X, after_conv, assert_close, conv, folds, pruned
from networks import BN, IN, LN, relative_error, trained_layer
from torch import nn

from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.plan import Plan
from ssn_prune.verification.algebra import check_algebra


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("var", [IN, LN])
def test_the_bias_is_that_of_the_algebra(var: int, biased: bool) -> None:
    """b - running_mean; the kernel stays as it is."""
    pair = NormalizerPair(BN, var)
    layer, preceding = trained_layer(4, pair).double(), conv(bias=biased).double()
    result = pruned(nn.Sequential(preceding, layer))
    assert folds(result) == [("running_mean", "0")]
    bias = preceding.bias if biased else torch.zeros(4, dtype=torch.float64)
    assert_close(result.model[0].bias, bias - layer.running_mean)
    assert torch.equal(result.model[0].weight, preceding.weight)
    with torch.no_grad():
        expected = after_conv(preceding, layer, pair)(X)
        assert relative_error(result.model(X), expected) < 1e-13


@pytest.mark.parametrize("var", [IN, LN])
def test_where_inputs_are_far_from_the_running_mean_the_layer_subtracts_the_rest(var: int) -> None:
    pair = NormalizerPair(BN, var)
    layer, preceding = trained_layer(4, pair).double(), conv().double()
    layer.running_mean.fill_(1e4)
    result = prune(nn.Sequential(preceding, layer).eval(), X)
    (planned,) = result.plan.layers
    assert planned.fold is not None
    assert planned.centre is not None
    assert max(planned.centre) < 100.0
    constants = torch.tensor(planned.centre, dtype=torch.float64)
    assert_close(result.model[0].bias, preceding.bias - constants)
    assert_close(result.model[1].running_mean, layer.running_mean - constants)
    with torch.no_grad():
        expected = after_conv(preceding, layer, pair)(X)
        assert relative_error(result.model(X), expected) < 1e-12


def test_a_mean_that_overflows_the_kernels_precision_is_refused() -> None:
    layer = trained_layer(4, NormalizerPair(BN, IN))
    layer.running_mean.fill_(6e4)
    preceding = conv()
    with torch.no_grad():
        preceding.bias.fill_(-6e4)
    report = prune(nn.Sequential(preceding, layer).half().eval(), X.half()).report.layers[0]
    assert report.reason_code == "scale_out_of_range"


def test_a_form_whose_fold_did_not_happen_fails_the_algebra_check() -> None:
    """Negative control: the form expects what the convolution has subtracted."""
    result = pruned(nn.Sequential(conv(), trained_layer(4, NormalizerPair(BN, LN))))
    (planned,) = result.plan.layers
    assert planned.fold is not None
    assert planned.fold.kernel is not None
    kernel = dataclasses.replace(planned.fold.kernel, bias=None)
    fold = dataclasses.replace(planned.fold, kernel=kernel)
    wrong = Plan((dataclasses.replace(planned, fold=fold),))
    assert not check_algebra(result.original, wrong, (X,)).passed
