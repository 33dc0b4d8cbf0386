"""A capture records the producer and the consumers of every call of a layer."""

from __future__ import annotations

import torch
from fold_checks import BN_BN, X, conv
from networks import Lambda, trained_layer
from torch import Tensor, nn

from ssn_prune.pruning.capture.capture import capture


def captured(network: nn.Module):
    return capture(network.double().eval(), (X,))


def test_the_neighbours_of_a_layer() -> None:
    network = nn.Sequential(conv(groups=1), trained_layer(4, BN_BN), trained_layer(4, BN_BN, 1))
    network.append(nn.Conv2d(4, 2, 1, padding=1, bias=False))
    result = captured(network)
    (first,), (second,) = result.calls["1"], result.calls["2"]
    assert first.producer == "aten.conv2d.default"
    assert first.preceding_conv is not None
    assert not first.preceding_conv.zero_padded
    assert (first.preceding_layer, second.preceding_layer) == (None, "1")
    assert (first.consumers, first.following_conv) == (1, None)
    assert second.following_conv is not None
    assert second.following_conv.zero_padded
    assert second.following_conv.biased  # by the marked model, so that a fold may create one
    assert (first.positions, first.axes, first.order, second.order) == (36, 4, 0, 1)
    assert result.uses[first.preceding_conv.weight] == 1
    (owner,) = result.owners[first.preceding_conv.weight]
    assert (owner.module, owner.attribute) == ("0", "weight")


def test_affine_modules_after_a_layer_are_seen_through() -> None:
    norm = nn.BatchNorm2d(4)
    network = nn.Sequential(conv(), trained_layer(4, BN_BN), norm, nn.Conv2d(4, 2, 1))
    (call,) = captured(network).calls["1"]
    assert [(affine.module, affine.operator) for affine in call.affines] == [("2", "batch_norm")]
    assert call.following_conv is not None


def test_consumers_are_counted_with_the_outputs_of_the_network() -> None:
    def forward(m: nn.Module, x: Tensor) -> list[Tensor]:
        y = m.c(x)
        return [m.n(y) + y, y]

    (call,) = captured(Lambda(forward, c=conv(), n=trained_layer(4, BN_BN))).calls["n"]
    assert call.preceding_conv is not None
    assert call.preceding_conv.consumers == 3
    assert call.consumer == "aten.add.Tensor"


def test_a_write_to_the_input_after_the_call_is_recorded() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = torch.exp(x)
        z = m.n(y)
        y.relu_()
        return z + y

    (call,) = captured(Lambda(forward, n=trained_layer(3, BN_BN))).calls["n"]
    assert call.overwritten
