"""A large mean, extreme values, and what must not spread."""

from __future__ import annotations

import math

import pytest
import torch
from layer_reference import expected, measured
from layer_samples import maps, trained
from torch.nn import functional as F

from ssn_prune.nn.ssn import SSN2d

# Of values that are not finite, which a GPU passes on.
NUMPY_WARNS = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_mean_of_1e4_with_a_deviation_of_1e_2_is_as_exact_as_batch_norm(layout):
    x = (maps((4, 3, 8, 8), layout) * 1e-2 + 1e4).float()
    layer = trained(SSN2d, 3).float()
    wanted, found = expected(layer, x), measured(layer, x)
    double = x.double()
    exact = F.batch_norm(double, None, None, training=True)
    theirs = float((F.batch_norm(x, None, None, training=True) - exact).abs().max())
    ours = float((found["output"] - wanted["output"]).abs().max())
    assert ours <= max(theirs, 1e-5)
    assert float((found["d input"] - wanted["d input"]).abs().max()) <= 1e-4 * float(
        wanted["d input"].abs().max()
    )


def test_the_plain_form_would_not_be():
    x = (maps((4, 3, 8, 8)) * 1e-2 + 1e4).float()
    scale = 1 / x.double().std()
    plain = x * scale.float() + (-x.double().mean() * scale).float()
    exact = (x.double() - x.double().mean()) * scale
    assert float((plain - exact).abs().max()) > 1e-3


@NUMPY_WARNS
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite_spreads_only_to_those_who_use_it(value):
    layer = trained(SSN2d, 3).float()
    layer.fix(layer.normalizers[0], layer.normalizers[0])
    x = maps((4, 3, 5, 4)).float()
    clean = measured(layer, x)["output"]
    x[2, 1, 3, 3] = value
    found = measured(layer, x)["output"]
    others = torch.ones(4, 3, dtype=torch.bool)
    others[2, 1] = False
    assert torch.equal(found[others], clean[others])
    assert not found[2, 1].isfinite().all()


def test_constant_planes_are_finite():
    layer = trained(SSN2d, 3).float()
    x = torch.full((4, 3, 5, 4), 7.25)
    for name, value in measured(layer, x).items():
        assert value.isfinite().all(), name


def test_an_outlier_at_the_first_position_costs_nothing():
    layer = trained(SSN2d, 3).float()
    x = maps((4, 3, 16, 16)).float()
    x[:, :, 0, 0] = 1e4
    wanted, found = expected(layer, x), measured(layer, x)
    error = float((found["output"] - wanted["output"]).abs().max())
    assert error <= 1e-6 * float(wanted["output"].abs().max())


@NUMPY_WARNS
@pytest.mark.parametrize("normalizer", [0, 1, 2])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_plane_in_parts_does_not_lose_what_is_not_finite(value, normalizer, monkeypatch):
    from ssn_prune.nn.fused import layout
    from ssn_prune.nn.fused.plan import _plan

    monkeypatch.setattr(layout, "_REDUCED", 64)
    monkeypatch.setattr(layout, "_PROGRAMS_PER_MULTIPROCESSOR", 40)
    monkeypatch.setattr(layout, "_TILES_PER_PART", 2)
    _plan.cache_clear()
    layer = trained(SSN2d, 3).float()
    layer.fix(layer.normalizers[normalizer], layer.normalizers[normalizer])
    x = maps((2, 3, 19, 23)).float()
    x[1, 2, -1, -1] = value
    y = layer(x)
    _plan.cache_clear()
    assert y[1, 2].isnan().all()
    assert y[0, :2].isfinite().all()
    assert layer.running_var[2].isnan()
