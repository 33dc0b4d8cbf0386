"""Where the layers of a network stand: the convolution before, what follows, and which pairs."""

from __future__ import annotations

import pytest
import torch
from placed_networks import Residual, Uncapturable
from torch import nn

from ssn_prune.costs.places import find_layers
from ssn_prune.errors import ArgumentError
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.pruning.capture.capture import capture


@pytest.fixture(scope="module")
def residual():
    found = find_layers(Residual().eval(), (torch.randn(1, 3, 16, 16),))
    return {layer.name: layer for layer in found}


def around(layer, call=0):
    return layer.places[call].surroundings


def operators(layer, call=0):
    return [entry.operator for entry in around(layer, call).tail]


def test_layers_come_in_the_order_of_the_network(residual):
    assert list(residual) == ["stem", "inner", "outer", "alone", "twice"]


def test_what_follows_is_kept_as_far_as_runtimes_fuse_it(residual):
    assert operators(residual["stem"]) == ["aten.relu.default", "aten.max_pool2d.default"]
    assert operators(residual["inner"]) == ["aten.relu.default"]
    assert operators(residual["outer"]) == ["aten.add.Tensor", "aten.relu.default"]
    assert around(residual["outer"]).tail[0].other == (1, 8, 8, 8)
    assert operators(residual["twice"], 1) == ["aten.tanh.default"]


def test_the_convolution_before_is_found_and_may_take_a_fold(residual):
    assert [residual[name].places[0].foldable for name in residual] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert around(residual["stem"]).shape == (1, 8, 16, 16)
    assert around(residual["stem"]).preceding is not None
    assert around(residual["alone"]).preceding is None


def test_a_layer_stands_where_it_is_called(residual):
    shapes = [place.surroundings.shape for place in residual["twice"].places]
    assert shapes == [(1, 8, 8, 8), (1, 8, 4, 4)]
    assert all(place.correction == 1 for place in residual["twice"].places)


def test_only_offered_pairs_are_measured_and_always_the_free_one(residual):
    assert residual["stem"].pairs == ALL_PAIRS
    assert list(map(str, residual["alone"].pairs)) == ["IN/IN", "IN/BN", "BN/IN", "BN/BN"]
    assert list(map(str, residual["twice"].pairs)) == ["IN/IN", "LN/LN", "BN/BN"]
    assert str(residual["alone"].measured[0]) == "BN/BN"


def test_a_convolution_of_several_layers_takes_no_fold():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.a, self.b = nn.Conv2d(3, 8, 1), SSN2d(8), SSN2d(8)

        def forward(self, x):
            x = self.conv(x)
            return self.a(x) + self.b(x)

    layers = find_layers(Shared().eval(), (torch.randn(1, 3, 4, 4),))
    assert [place.foldable for layer in layers for place in layer.places] == [False, False]


def test_the_batch_is_that_of_the_inputs():
    layers = find_layers(Residual().eval(), (torch.randn(3, 3, 16, 16),))
    assert around(layers[0]).shape == (3, 8, 16, 16)


def test_a_variance_of_one_position_has_no_cost():
    model = nn.Sequential(nn.Conv2d(3, 8, 4), SSN2d(8, correction=1)).eval()
    (layer,) = find_layers(model, (torch.randn(1, 3, 4, 4),))
    assert list(map(str, layer.pairs)) == ["IN/BN", "LN/BN", "BN/BN"]


def test_a_network_that_is_captured_in_parts():
    layers = find_layers(Uncapturable().eval(), (torch.randn(1, 3, 12),))
    inner, outer = layers
    assert (inner.name, outer.name) == ("inner.1", "outer")
    assert operators(inner) == ["aten.relu.default"]
    assert inner.places[0].foldable
    assert around(outer).shape == (1, 8, 10)
    assert around(outer).preceding is None


def test_a_network_without_reached_layers_is_refused():
    with pytest.raises(ArgumentError, match="nothing can be measured"):
        find_layers(nn.Conv2d(3, 3, 1), (torch.randn(1, 3, 4, 4),))


def test_padding_that_follows_from_a_size_is_no_constant():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.norm = nn.Parameter(torch.ones(8, 3, 3, 3)), SSN2d(8)

        def forward(self, x):
            return self.norm(torch.conv2d(x, self.weight, padding=x.shape[-1] // 4))

    inputs = (torch.randn(2, 3, 8, 12),)
    (call,) = capture(Padded().eval(), inputs).calls["norm"]
    assert call.preceding_conv is not None
    assert call.surroundings.preceding is None
    assert call.surroundings.shape == (2, 8, 12, 16)
    hash(call.surroundings)
    (layer,) = find_layers(Padded().eval(), inputs)
    assert around(layer).preceding is not None
