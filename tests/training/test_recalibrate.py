"""Population statistics: averages over batches of batch statistics, computed here by hand."""

import copy

import pytest
import torch
from population import EXACT, batches, statistics
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm2d
from ssn_prune.nn.selected import SelectedNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.training.recalibrate import recalibrate

IN, LN, BN = Normalizer


def frozen_at(layer, mean, var):
    layer.fix(mean, var)
    return layer


CASES = {
    "SSN2d": (SSN2d(3), (4, 3, 5, 6), "population"),
    "SSN2d, one position": (SSN2d(3), (4, 3, 1, 1), "population"),
    "SSN2d, corrected": (SSN2d(3, correction=1), (4, 3, 5, 6), "corrected"),
    "SSN2d, no BN ratio": (frozen_at(SSN2d(3), IN, LN), (4, 3, 5, 6), "population"),
    "SSN2d, only BN": (frozen_at(SSN2d(3), BN, BN), (4, 3, 9, 9), "population"),
    "SSN2d, not affine": (SSN2d(3, affine=False), (4, 3, 5, 6), "population"),
    "SSN2d, not tracked": (SSN2d(3, track_running_stats=False), (4, 3, 5, 6), "population"),
    "SSN1d": (SSN1d(3, normalizers=("LN", "BN")), (4, 3, 7), "population"),
    "SSN1d, no axis": (SSN1d(3), (6, 3), "population"),
    "SSN3d": (SSN3d(3, momentum=None), (2, 3, 2, 3, 4), "population"),
    "SwitchNorm2d": (SwitchNorm2d(3), (4, 3, 5, 6), "population"),
    "SelectedNorm": (SelectedNorm(3, NormalizerPair(LN, BN), (4,)), (4, 3, 5, 6), "population"),
    "BatchNorm1d": (nn.BatchNorm1d(3, momentum=0.3), (6, 3), "unbiased"),
    "BatchNorm2d": (nn.BatchNorm2d(3), (4, 3, 5, 6), "unbiased"),
    "BatchNorm2d, bare": (nn.BatchNorm2d(3, affine=False), (4, 3, 5, 6), "unbiased"),
    "BatchNorm2d, not tracked": (
        nn.BatchNorm2d(3, track_running_stats=False),
        (6, 3, 4, 4),
        "unbiased",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_statistics_are_averages_over_batches(name):
    layer, shape, kind = CASES[name]
    layer = copy.deepcopy(layer).double().train()
    momentum = layer.momentum
    if layer.running_mean is not None:
        layer.running_mean.fill_(1e6)  # as the sums of the reference implementation's batch average
        layer.running_var.fill_(1e9)
    parameters = [p.detach().clone() for p in layer.parameters()]
    data = batches(shape)
    tracked = [layer.running_mean, layer.running_var]
    assert recalibrate(layer, data) == 5
    mean, var = statistics(data, kind)
    torch.testing.assert_close(layer.running_mean, mean, **EXACT)
    torch.testing.assert_close(layer.running_var, var, **EXACT)
    assert int(layer.num_batches_tracked) == 5
    assert layer.training
    assert layer.momentum == momentum
    assert all(torch.equal(p, q) for p, q in zip(layer.parameters(), parameters, strict=True))
    # DDP and others hold on to the tensors themselves.
    assert tracked[0] is None or list(map(id, tracked)) == [
        id(layer.running_mean),
        id(layer.running_var),
    ]
    used = name != "SSN2d, no BN ratio"
    y = layer.eval()(data[0])
    layer.running_var.add_(1)
    assert torch.equal(layer(data[0]), y) != used


def test_a_different_variance_would_be_noticed():
    data = batches()
    for kind in ("unbiased", "corrected"):
        var = statistics(data, kind)[1] / statistics(data, "population")[1]
        assert (var - 1).abs().min() > 1e-3
