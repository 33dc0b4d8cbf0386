"""Extreme shapes, scales and precisions."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_reference import assert_agree, expected, measured, normalize
from layer_samples import EXACT, LAYERS, maps, trained

from ssn_prune.nn import planes
from ssn_prune.nn.ssn import SSN1d, SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.normalizer import Normalizer

UNIT = 2.0**-24  # relative rounding error of float32
MODES = pytest.mark.parametrize("training", [True, False])
SIZES = pytest.mark.parametrize("size", [7, 9, 32])  # 7: fewer than SMALL_PLANE positions


@st.composite
def shapes(draw):
    dim = draw(st.integers(1, 3))
    extent = st.sampled_from((1, 1, 2, 3, 9))
    spatial = draw(st.lists(extent, min_size=0 if dim == 1 else dim, max_size=dim))
    return dim, (
        draw(st.sampled_from((1, 1, 2, 5))),
        draw(st.sampled_from((1, 2, 3, 70))),
        *spatial,
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes(), st.booleans(), st.booleans(), st.sampled_from((0.0, 0.3, 0.7)))
def test_any_shape_gives_finite_values_of_the_formula(case, training, softmax, radius):
    dim, shape = case
    layer = trained(LAYERS[dim][softmax], shape[1], radius=radius).train(training)
    x = maps(shape)
    wanted = expected(layer, x)
    assert all(value.isfinite().all() for value in wanted.values())
    # A lone channel or position makes variances that only eps keeps from zero: 1/sqrt(eps) = 316.
    assert_agree(measured(layer, x), wanted, 100 * EXACT)


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_empty_inputs_are_refused_except_for_empty_batches_in_evaluation(layer_class):
    layer = layer_class(3)
    before = layer.running_mean.clone()
    for shape in ((0, 3, 4, 4), (2, 3, 0, 4), (0, 3, 0, 4)):
        with pytest.raises(ValueError, match="nothing to normalize"):
            layer(torch.zeros(shape))
    assert torch.equal(layer.running_mean, before)
    layer.eval()
    empty = torch.zeros(0, 3, 4, 4, requires_grad=True)
    y = layer(empty)
    assert y.shape == empty.shape
    y.sum().backward()
    assert empty.grad.shape == empty.shape
    with pytest.raises(ValueError, match=r"nothing to normalize in an input of \(2, 3, 4, 0\)"):
        layer(torch.zeros(2, 3, 4, 0))
    assert SSN1d(3).eval()(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.usefixtures("fresh_compiler")
def test_an_empty_batch_is_refused_in_compiled_training_too():
    layer = SSN2d(3)
    run = torch.compile(layer, backend="eager")
    with pytest.raises(Exception, match="nothing to normalize"):
        run(torch.zeros(0, 3, 4, 4))
    assert layer.running_mean.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_inputs_that_are_not_floating_are_refused_as_torch_refuses_them(dtype):
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        SSN2d(3).eval()(torch.ones(2, 3, 4, 4).to(dtype))


def torch_layer(x, choice):
    if choice is Normalizer.IN:
        return F.instance_norm(x)
    return (
        F.group_norm(x, 1)
        if choice is Normalizer.LN
        else F.batch_norm(x, None, None, training=True)
    )


def formula(x, choice):
    ratios = [float(choice is n) for n in Normalizer]
    return normalize(x, ratios, ratios, ("IN", "LN", "BN"))[0]


def pass_through(run, x, gradient):
    x = x.detach().requires_grad_()
    y = run(x)
    return y.detach().double(), torch.autograd.grad(y, x, gradient.to(y.dtype))[0].double()


SCALES = [(1e4, 1e-2), (1.0, 1e-4), (100.0, 0.01), (1e6, 1e3), (1.0, 1.0)]
SCALES += [(0.0, 10.0**power) for power in range(-6, 7, 3)]


@pytest.mark.parametrize("size", [3, 7, 9, 32])
@pytest.mark.parametrize(("mean", "std"), SCALES)
@pytest.mark.parametrize("choice", list(Normalizer))
@pytest.mark.parametrize("channels_last", [False, True])
def test_float32_errors_are_those_of_torch(size, mean, std, choice, channels_last):
    """Contiguous planes: 4 times torch's error, or 4 units and half a unit of mean / deviation.

    The latter is what a mean costs that is rounded to float32 before it is subtracted. Small
    planes and other layouts make up for that rounding: 8 units whatever the mean.
    """
    generator = torch.Generator().manual_seed(size)
    x = torch.randn(4, 6, size, size, generator=generator) * std + mean
    gradient = torch.randn(4, 6, size, size, generator=generator)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    layer = SSN2d(6)
    layer.fix(choice, choice)
    found = pass_through(layer, x, gradient)
    other = pass_through(lambda t: torch_layer(t, choice), x.contiguous(), gradient)
    wanted = pass_through(lambda t: formula(t, choice), x.double(), gradient)
    floor = UNIT * (4 + 0.5 * mean / (std**2 + 1e-5) ** 0.5)
    for ours, theirs, exact in zip(found, other, wanted, strict=True):
        scale = exact.abs().max()
        allowed = torch.maximum(4 * (theirs - exact).abs().max(), floor * scale)
        if channels_last or size * size <= planes.SMALL_PLANE:
            allowed = 8 * UNIT * scale
        assert (ours - exact).abs().max() <= allowed
    if mean / std >= 100:  # negative control: the textbook's shortcut fails
        var = x.square().mean((2, 3), keepdim=True) - x.mean((2, 3), keepdim=True).square()
        naive = (x - x.mean((2, 3), keepdim=True)) / (var.abs() + 1e-5).sqrt()
        bound = floor * formula(x.double(), Normalizer.IN).abs().max()
        assert (naive - formula(x.double(), Normalizer.IN)).abs().max() > bound


@SIZES
@pytest.mark.parametrize(("mean", "std"), [(0.0, s) for s in (1e-7, 1e-6, 1e-3, 1.0, 1e6)])
def test_the_variance_is_right_to_four_units_in_the_last_place(size, mean, std):
    check_variance(size, mean, std, 4)


@SIZES
@pytest.mark.parametrize(("mean", "std"), [(10.0, 1.0), (100.0, 1.0), (1.0, 1e-4), (1e4, 1e-2)])
def test_the_variance_of_uncentred_planes_loses_no_more_than_the_rounded_mean(size, mean, std):
    small = size * size <= planes.SMALL_PLANE  # subtracts the mean before it squares
    check_variance(size, mean, std, 4 if small else 4 + mean / std)


def check_variance(size, mean, std, units):
    x = torch.randn(16, 8, size, size, generator=torch.Generator().manual_seed(1)) * std + mean
    centred, plane_mean, moments, unit = planes.standardize(x)
    exact = x.double().var((2, 3), correction=0)
    error = (torch.from_numpy(moments[1]) - exact).abs()
    assert (error <= units * 2 * UNIT * (exact + 1e-12)).all()
    unit = torch.as_tensor(unit).view(-1, 1, 1, 1).double()
    unit = unit.view(16, 8, 1, 1) if unit.numel() > 1 else unit
    back = plane_mean.double()[..., None, None] + unit * centred.double()
    assert (back - x).abs().max() <= 4 * UNIT * x.abs().max()


@SIZES
@pytest.mark.parametrize("value", [0.0, 3.3, -1e4, 1e-30, 1e18])
def test_constant_planes_give_the_bias(size, value):
    layer = trained(SSN2d, 3).float()
    layer.fix(Normalizer.IN, Normalizer.IN)
    x = torch.full((2, 3, size, size), value, requires_grad=True)
    y = layer(x)
    # 1/sqrt(1e-5) = 316 times the rounding error of the mean
    bound = 2 * 316 * UNIT * abs(value)
    assert (y - layer.bias.view(1, 3, 1, 1)).abs().max() <= bound
    y.square().sum().backward()
    assert x.grad.isfinite().all()


@SIZES
@pytest.mark.parametrize("scale", [1e15, 1e17])
def test_large_values_follow_the_formula(size, scale):
    x = (maps((2, 3, size, size)) * scale).float()
    layer = trained(SSN2d, 3).float()
    wanted = expected(layer, x)["output"]
    assert (layer(x).double() - wanted).abs().max() <= 16 * UNIT * wanted.abs().max()


@SIZES
@pytest.mark.parametrize("value", [1e20, 1e38, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("where", ["position", "channel", "sample"])
@MODES
def test_overflow_infinity_and_nan_raise_no_warning(size, value, where, training):
    x = maps((2, 3, size, size)).float()
    x[{"position": (0, 0, 0, 0), "channel": (slice(None), 1), "sample": 0}[where]] = value
    layer = trained(SSN2d, 3).float().train(training)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x.requires_grad_()
        y = layer(x)
        y.sum().backward()
    if not np.isfinite(value):
        assert not y[0].isfinite().any() or where == "position"
        assert not y[0, 0 if where == "position" else 1].isfinite().all()
        assert not x.grad[0].isfinite().all()


@pytest.mark.parametrize("selected", [Normalizer.IN, Normalizer.LN])
def test_running_statistics_that_nobody_selected_do_no_harm(selected):
    layer = trained(SSN2d, 3).eval()
    layer.fix(selected, selected)
    wanted = measured(layer, maps((2, 3, 4, 4)))
    layer.running_var.fill_(float("inf"))
    layer.running_mean.fill_(float("nan"))
    found = measured(layer, maps((2, 3, 4, 4)))
    for name in ("output", "d input", "d mean_weight", "d var_weight"):
        assert torch.equal(found[name], wanted[name]), name


HALVES = [(torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)]


@MODES
@SIZES
@pytest.mark.parametrize(("dtype", "rounding"), HALVES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_half_precision_rounds_only_at_the_ends(size, dtype, rounding, channels_last, training):
    """Mean 8: moments in half precision would be off by 8 roundings."""
    x = (maps((4, 3, size, size)) + 8).to(dtype)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    layer = trained(SSN2d, 3).float().train(training)
    wanted = expected(layer, x)
    found = measured(layer, x)
    for name in ("output", "d input"):
        assert found[name].dtype == dtype
        assert found[name].stride() == x.stride()
        error = (found[name].double() - wanted[name]).abs()
        assert (error <= rounding * (wanted[name].abs() + 16 * UNIT / rounding)).all(), name
    rest = {name: value for name, value in wanted.items() if name not in ("output", "d input")}
    assert all(found[name].dtype == torch.float32 for name in rest)
    assert_agree({name: found[name] for name in rest}, rest, 64 * UNIT, x.numel() / 3)
