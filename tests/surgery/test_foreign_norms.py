"""Norm layers that stay as they are, and why; lazy networks."""

from functools import partial

import pytest
import timm.layers as timm_layers
import torch
from torch import nn
from torch.nn.utils import prune
from torchvision.ops import FrozenBatchNorm2d

from ssn_prune import SSN2d, convert_to_ssn
from ssn_prune.errors import ArgumentError, NoSwitchableLayerError


def frozen_in_training():
    class FrozenStatistics(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    return FrozenStatistics(4)


def own_forward():
    class Scaled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    return Scaled(4)


def own_call():
    class Called(nn.GroupNorm):
        def __call__(self, x):
            return 2 * super().__call__(x)

    return Called(1, 4)


def half_tracked():
    norm = nn.BatchNorm2d(4)
    norm.running_mean = None
    return norm


def patched():
    norm = nn.BatchNorm2d(4)
    norm.forward = lambda x: x
    return norm


def masked():
    norm = nn.BatchNorm2d(4)
    prune.l1_unstructured(norm, "weight", 0.5)
    return norm


def parametrized():
    return nn.utils.parametrizations.weight_norm(nn.BatchNorm2d(4), dim=None)


def switched_off():
    norm = nn.BatchNorm2d(4)
    norm.track_running_stats = False
    return norm


def different_positions():
    norm = nn.LayerNorm((4, 3, 3))
    norm.bias.data[1, 2, 0] = 0.5
    return norm


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (partial(nn.LayerNorm, 4), "last axis"),
        (partial(timm_layers.LayerNorm, 4), "last axis"),
        (different_positions, "from position to position"),
        (partial(nn.LayerNorm, (2, 2, 2, 2, 2)), "4 spatial axes"),
        (partial(nn.LayerNorm, (4, 3, 3), device="meta"), "from position to position"),
        (own_forward, "Scaled is a BatchNorm2d with forward of its own"),
        (own_call, "Called is a GroupNorm with __call__ of its own"),
        (half_tracked, "switched off"),
        (patched, "forward of its own"),
        (frozen_in_training, "train of its own"),
        (partial(timm_layers.split_batchnorm.SplitBatchNorm2d, 4), "forward of its own"),
        (masked, "holds weight_mask, weight_orig"),
        (parametrized, "of its own"),
        (switched_off, "switched off"),
        (partial(nn.RMSNorm, 4), "not known"),
        (partial(FrozenBatchNorm2d, 4), "constants"),
        (partial(timm_layers.FrozenBatchNormAct2d, 4), "constants"),
        (partial(torch.ao.nn.quantized.BatchNorm2d, 4), "not known"),
        (partial(torch.ao.nn.quantized.InstanceNorm2d, 4, None, None, 1.0, 0), "of its own"),
        (partial(SSN2d, 4), "switchable already"),
    ],
)
def test_other_layers_stay_and_the_reason_is_recorded(make, reason):
    old = make()
    for approximate in (False, True):
        result = convert_to_ssn(nn.ModuleList([old, nn.BatchNorm2d(4)]), approximate=approximate)
        assert type(result.model[0]) is type(old)
        assert result.layers[0].names == ("0",)
        assert result.layers[0].new is None
        assert result.layers[0].choice is None
        assert reason in result.layers[0].reason
        assert result.layers[-1].new == "SSN2d"
    with pytest.raises(NoSwitchableLayerError, match=type(old).__name__):
        convert_to_ssn(nn.Sequential(old))


def test_layer_norms_that_share_a_parameter_stay():
    model = nn.ModuleList([nn.LayerNorm((4, 3, 3)) for _ in range(3)])
    model[1].weight = model[0].weight
    model[2].weight.requires_grad_(False)
    result = convert_to_ssn(model)
    assert [record.new for record in result.layers] == [None, None, "SSN2d"]
    assert "shared" in result.layers[0].reason
    assert result.model[1].weight is result.model[0].weight
    new = result.model[2]
    assert new.weight.shape == new.bias.shape == (4,)
    assert (new.weight.requires_grad, new.bias.requires_grad) == (False, True)


def test_lazy_layers_must_have_run():
    model = nn.Sequential(nn.LazyConv2d(4, 1), nn.LazyBatchNorm2d(), nn.BatchNorm2d(4))
    with pytest.raises(ArgumentError, match="run the network once"):
        convert_to_ssn(model)
    result = convert_to_ssn(model, inplace=True)
    assert [record.new for record in result.layers] == [None, "SSN2d"]
    assert "lazy" in result.layers[0].reason
    model(torch.randn(2, 3, 4, 4))
    assert type(convert_to_ssn(model, include="1").model[1]) is SSN2d
