"""The twin computes what the network would with BN selected in every layer."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import one_hot_gates, randomize, tiny_network
from torch import nn

from ssn_prune import SSN1d, SSN3d, SwitchNorm2d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.batch_norm_twin import batch_norm_twin


def test_it_is_the_network_with_bn_selected_and_the_network_stays() -> None:
    network = tiny_network()
    before = copy.deepcopy(network.state_dict())
    twin = batch_norm_twin(network)
    selected = copy.deepcopy(network)
    for layer in (selected.sn1, selected.sn2):
        one_hot_gates(layer, 2, 2)
    x = torch.randn(2, 1, 8, 8)
    assert not any(isinstance(module, SwitchableNorm) for module in twin.modules())
    assert not torch.allclose(twin(x), network(x), atol=1e-3)
    torch.testing.assert_close(twin.double()(x.double()), selected.double()(x.double()))
    assert all(
        torch.equal(before[key].float(), v.float()) for key, v in network.state_dict().items()
    )


@pytest.mark.parametrize(
    ("layer", "shape", "kind"),
    [
        (SSN1d(3), (2, 3), nn.BatchNorm1d),
        (SSN1d(3, correction=1), (2, 3, 5), nn.BatchNorm1d),
        (SwitchNorm2d(3, eps=0.1), (2, 3, 5, 4), nn.BatchNorm2d),
        (SSN3d(3, affine=False), (2, 3, 5, 4, 2), nn.BatchNorm3d),
    ],
)
def test_layers_of_every_dimension(
    layer: SwitchableNorm, shape: tuple[int, ...], kind: type[nn.Module]
) -> None:
    layer.eval()
    if layer.affine:
        randomize(layer)
    twin = batch_norm_twin(layer)
    assert type(twin) is kind
    assert not twin.training
    x = torch.randn(shape)
    axes = (1, -1, *[1] * (len(shape) - 2))
    mean, var = layer.running_mean.reshape(axes), layer.running_var.reshape(axes)
    expected = (x - mean) / torch.sqrt(var + layer.eps)
    if layer.affine:
        expected = expected * layer.weight.reshape(axes) + layer.bias.reshape(axes)
    torch.testing.assert_close(twin(x), expected)


def test_a_layer_without_bn_scales_and_shifts() -> None:
    layer = SSN1d(3, normalizers=("IN", "LN")).eval()
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(batch_norm_twin(layer)(x), x, rtol=1e-4, atol=1e-4)
