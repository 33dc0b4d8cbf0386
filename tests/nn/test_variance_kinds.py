"""Variances that are each divided by their own number of values less one (correction=2)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from unlike_layers import VectorSwitch

from ssn_prune import SSN1d, SSN2d, SwitchNorm1d, SwitchNorm2d, SwitchNorm3d, freeze_selected
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer

IN, LN, BN = Normalizer
ALL = ("IN", "LN", "BN")


def unbiased(layer: SwitchableNorm, x: Tensor) -> Tensor:
    """The formula with torch's own unbiased variances, for autograd."""
    spatial = tuple(range(2, x.dim()))
    shape = (1, -1, *[1] * len(spatial))
    axes = {IN: spatial, LN: (1, *spatial), BN: (0, *spatial)}
    means, variances = [], []
    for normalizer in layer.normalizers:
        if normalizer is BN and not layer.training:
            means.append(layer.running_mean.view(shape))
            variances.append(layer.running_var.view(shape))
        else:
            means.append(x.mean(axes[normalizer], keepdim=True))
            variances.append(x.var(axes[normalizer], keepdim=True))
    p, q = layer.gates()
    mean = sum(r * m for r, m in zip(p, means, strict=True))
    var = sum(r * v for r, v in zip(q, variances, strict=True))
    return (x - mean) / (var + layer.eps).sqrt() * layer.weight.view(shape) + layer.bias.view(shape)


CASES = {
    "vectors": (SwitchNorm1d, (5, 6), ("LN", "BN")),
    "sequences": (SwitchNorm1d, (5, 6, 7), ALL),
    "small planes": (SwitchNorm2d, (3, 6, 4, 5), ("LN", "BN")),
    "large planes": (SwitchNorm2d, (3, 6, 20, 20), ALL),
    "one position": (SwitchNorm2d, (3, 6, 1, 1), ("LN", "BN")),
    "without BN": (SwitchNorm3d, (3, 6, 2, 3, 4), ("IN", "LN")),
}


def layer_of(case: str) -> tuple[SwitchableNorm, Tensor]:
    kind, shape, normalizers = CASES[case]
    generator = torch.Generator().manual_seed(0)
    layer = kind(6, normalizers=normalizers, correction=2).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if layer.running_mean is not None:
            layer.running_mean.copy_(torch.randn(6, generator=generator))
            layer.running_var.copy_(torch.rand(6, generator=generator) + 0.5)
    return layer, torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 1


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, training: bool) -> None:
    layer, x = layer_of(case)
    layer.train(training)
    x.requires_grad_()
    wanted = [x, *layer.parameters()]
    # The same at every run: a gradient of the gates that nearly cancels has no relative accuracy.
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    expected = unbiased(layer, x)
    gradients = torch.autograd.grad((expected * upstream).sum(), wanted)
    y = layer(x)
    found = torch.autograd.grad((y * upstream).sum(), wanted)
    assert torch.allclose(y, expected, rtol=0, atol=1e-13)
    for value, right in zip(found, gradients, strict=True):
        assert float((value - right).abs().max()) <= 1e-12 * float(right.abs().max())
    layer.load_state_dict(layer_of(case)[0].state_dict())  # a training step changes statistics
    plain = torch.compile(layer, backend="eager", fullgraph=True)(x)
    assert torch.allclose(plain, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("case", ["vectors", "sequences", "large planes"])
def test_the_running_variance_is_of_the_same_kind(case: str) -> None:
    layer, x = layer_of(case)
    before = layer.running_var.clone()
    layer.train()(x)
    var = x.var((0, *range(2, x.dim())))
    assert torch.allclose(layer.running_var, before * 0.9 + var * 0.1, rtol=0, atol=1e-13)


def test_training_equals_the_layer_of_the_reference_code() -> None:
    given = VectorSwitch(6).double()
    own = SwitchNorm1d(6, normalizers=("LN", "BN"), correction=2).double()
    own.load_state_dict(given.state_dict())
    x = torch.randn(5, 6, dtype=torch.float64)
    for _ in range(3):
        assert torch.allclose(own(x), given(x), rtol=0, atol=1e-14)
    assert torch.allclose(own.running_var, given.running_var.flatten(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("groups", [1, 2])
def test_emulated_workers_count_their_own_samples(groups: int) -> None:
    layer = SSN1d(6, normalizers=("LN", "BN"), correction=2).double()
    layer.batch_groups = groups
    x = torch.randn(4, 6, dtype=torch.float64)
    whole = layer(x)
    layer.batch_groups = 1
    parts = torch.cat([layer(part) for part in x.chunk(groups)])
    assert torch.allclose(whole, parts, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "normalizers", "named"),
    [
        ((3, 4), ALL, "IN"),
        ((1, 4), ("LN", "BN"), "BN"),
        ((3, 1), ("LN", "BN"), "LN"),
        ((1, 4, 1), ALL, "IN and BN"),
    ],
)
def test_one_value_has_no_unbiased_variance(
    shape: tuple[int, ...], normalizers: tuple[str, ...], named: str
) -> None:
    layer = SSN1d(shape[1], normalizers=normalizers, correction=2)
    with pytest.raises(ValueError, match=f"at least 2 values, {named} has one"):
        layer(torch.ones(shape))
    layer.eval()  # NaN only where it is used
    layer.fix(BN, BN)
    assert torch.isfinite(layer(torch.ones(shape))).all()
    unused = layer.normalizers[0]
    layer.fix(BN, unused)
    used = layer(torch.ones(shape))
    assert torch.isnan(used).any() == (unused.name in named)


def test_the_kind_is_stored_and_survives_freezing() -> None:
    layer = SSN2d(4, correction=2)
    other = SSN2d(4)
    other.load_state_dict(layer.state_dict())
    assert other.correction == 2
    assert "correction=2" in repr(other)
    layer.fix(IN, LN)
    x = torch.randn(2, 4, 3, 3)
    expected = layer.eval()(x)
    frozen = freeze_selected(nn.Sequential(layer))
    assert torch.allclose(frozen.model.eval()(x), expected, rtol=0, atol=1e-6)
    saved = SSN2d(4)
    saved.load_state_dict({k[2:]: v for k, v in frozen.switchable_state_dict().items()})
    assert saved.correction == 2
