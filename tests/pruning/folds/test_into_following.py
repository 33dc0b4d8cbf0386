"""BN/BN moves into the input channels of the following convolution where that is exact."""

from __future__ import annotations

import pytest
import torch
from fold_checks import BN_BN, X, assert_close, conv, folds, pruned, scale_by_hand
from networks import BN, Lambda, trained_layer
from torch import Tensor, nn

from ssn_prune import SSN1d
from ssn_prune.normalizer import ALL_PAIRS


def near_zero(seed: int = 0) -> nn.Module:
    """A layer whose means are less than four deviations from zero."""
    layer = trained_layer(3, BN_BN, seed)
    layer.running_mean.clamp_(-1, 1)
    layer.running_var.clamp_(0.5, None)
    return layer


def test_kernel_and_bias_are_those_of_the_algebra() -> None:
    """W s on the input channels and b + sum W t, entry by entry."""
    layer, following = near_zero().double(), conv().double()
    result = pruned(nn.Sequential(nn.ReLU(), layer, following))
    scale = scale_by_hand(layer)
    shift = layer.bias - layer.running_mean * scale
    weight = torch.einsum("oikl,i->oikl", following.weight, scale)
    bias = following.bias + torch.einsum("oikl,i->o", following.weight, shift)
    assert_close(result.model[2].weight, weight)
    torch.testing.assert_close(result.model[2].bias, bias, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    "following",
    [
        conv(),
        conv(bias=False, stride=2, dilation=2),
        nn.Conv2d(3, 6, 3, groups=3),
        conv(padding=1, padding_mode="reflect"),
        conv(padding=1, padding_mode="circular"),
        conv(padding="same", padding_mode="replicate"),
    ],
    ids=["plain", "no bias", "grouped", "reflect", "circular", "replicate"],
)
def test_a_static_layer_folds_into_the_following_convolution(following: nn.Conv2d) -> None:
    network = nn.Sequential(nn.ReLU(), trained_layer(3, BN_BN), following)
    network[1].running_mean.clamp_(-1, 1)
    network[1].running_var.clamp_(0.5, None)
    result = pruned(network)
    assert folds(result) == [("scale_and_shift_into_following", "2")]
    assert isinstance(result.model[1], nn.Identity)


def test_forward_and_backward_folds_meet_in_one_convolution() -> None:
    first = trained_layer(3, BN_BN)
    first.running_mean.clamp_(-1, 1)
    for seed, pair in enumerate(ALL_PAIRS):
        network = nn.Sequential(nn.ReLU(), first, conv(), trained_layer(4, pair, seed))
        assert folds(pruned(network))[0] == ("scale_and_shift_into_following", "2")


def test_vectors_fold_into_the_following_linear_layer() -> None:
    layer = SSN1d(3)
    layer.fix(BN, BN)
    network = nn.Sequential(nn.ReLU(), layer, nn.Linear(3, 5, bias=False))
    assert folds(pruned(network, X[..., 0, 0])) == [("scale_and_shift_into_following", "2")]


@pytest.mark.parametrize(
    ("following", "reason"),
    [
        (conv(padding=1), "pads with zeros"),
        (nn.Sequential(nn.ZeroPad2d(1), conv()), "followed by aten.pad.default"),
        (nn.Sequential(nn.ConstantPad2d(1, 0.5), conv()), "followed by aten.pad.default"),
        (nn.ConvTranspose2d(3, 4, 3), "transposed"),
        (nn.Sequential(nn.ReLU(), conv()), "followed by aten.relu.default"),
        (nn.utils.parametrizations.weight_norm(conv()), "weight is computed"),
    ],
    ids=["zeros", "zeros before", "constant before", "transposed", "activation", "computed"],
)
def test_a_forward_fold_that_is_not_exact_says_why(following: nn.Module, reason: str) -> None:
    layer = trained_layer(3, BN_BN)
    layer.running_mean.zero_()
    result = pruned(nn.Sequential(nn.ReLU(), layer, following))
    assert folds(result) == [None]
    assert reason in str(result.report.layers[0].reason)


def test_a_mean_far_from_zero_does_not_go_through_a_sum() -> None:
    layer = trained_layer(3, BN_BN)
    layer.running_mean[1] = 100.0
    result = pruned(nn.Sequential(nn.ReLU(), layer, conv()))
    assert "deviations from zero" in str(result.report.layers[0].reason)


def test_a_second_use_of_the_output_or_of_the_convolution_stops_a_forward_fold() -> None:
    layer = trained_layer(3, BN_BN)
    layer.running_mean.zero_()
    for function in (
        lambda m, x: (y := m.a(x.relu()), m.c(y) + y.mean())[1],
        lambda m, x: m.c(m.a(x.relu())) + m.c(x),
    ):
        assert folds(pruned(Lambda(function, a=layer, c=conv()))) == [None]


def test_an_input_that_is_overwritten_later_keeps_its_copy() -> None:
    def forward(m: nn.Module, x: Tensor) -> list[Tensor]:
        y = x.exp()
        z = m.a(y)
        y.relu_()
        return [m.c(z), y]

    result = pruned_list(Lambda(forward, a=near_zero(), c=conv()))
    assert "overwritten later" in str(result.report.layers[0].reason)


def pruned_list(network: nn.Module):
    from ssn_prune import prune

    return prune(network.double().eval(), X)
