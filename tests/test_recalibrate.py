"""Population statistics: averages over batches of batch statistics, computed here by hand."""

import copy

import pytest
import torch
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm2d
from ssn_prune.layers.selected import SelectedNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.training.recalibrate import recalibrate

EXACT = {"rtol": 1e-12, "atol": 1e-13}  # float64
IN, LN, BN = Normalizer
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def batches(shape=(4, 3, 5, 6), count=5, dtype=torch.float64):
    """Batches that differ in mean, spread and size."""
    generator = torch.Generator().manual_seed(len(shape))
    sizes = [(shape[0] + index % 3, *shape[1:]) for index in range(count)]
    drawn = [torch.randn(*size, generator=generator, dtype=dtype) for size in sizes]
    return [x * (1 + i) + 3 * i - 2 for i, x in enumerate(drawn)]


def statistics(inputs, kind):
    """Mean over batches of the mean and the variance; ``kind`` is what the variance divides by."""
    means, variances = [], []
    for x in inputs:
        planes = x.transpose(0, 1).flatten(2) if x.dim() > 2 else x.t()[:, :, None]
        mean = planes.mean((1, 2))
        squares = (planes - mean[:, None, None]) ** 2
        count, positions = planes[0].numel(), planes.shape[2]
        if kind == "corrected":  # within planes n - 1, between them the population
            within = ((planes - planes.mean(2, keepdim=True)) ** 2).sum(2) / (positions - 1)
            between = ((planes.mean(2) - mean[:, None]) ** 2).mean(1)
            var = within.mean(1) + between
        else:
            var = squares.sum((1, 2)) / (count - (kind == "unbiased"))
        means.append(mean)
        variances.append(var)
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


def fixed(layer, mean, var):
    layer.fix(mean, var)
    return layer


CASES = {
    "SSN2d": (SSN2d(3), (4, 3, 5, 6), "population"),
    "SSN2d, one position": (SSN2d(3), (4, 3, 1, 1), "population"),
    "SSN2d, corrected": (SSN2d(3, correction=1), (4, 3, 5, 6), "corrected"),
    "SSN2d, no BN ratio": (fixed(SSN2d(3), IN, LN), (4, 3, 5, 6), "population"),
    "SSN2d, only BN": (fixed(SSN2d(3), BN, BN), (4, 3, 9, 9), "population"),
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
        layer.running_mean.fill_(1e6)  # as the sums of the authors' batch average
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
