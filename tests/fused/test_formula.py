"""The kernels against the formulas of the papers in float64, differentiated by autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_reference import SETS, assert_agree, expected, measured
from layer_samples import LAYERS, maps, trained

from ssn_prune import freeze_selected
from ssn_prune.nn import fused
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.normalizer import ALL_PAIRS

SINGLE = 2e-6  # of the scale that assert_agree documents
SHAPES = {1: (4, 3, 9), 2: (4, 3, 5, 4), 3: (4, 3, 2, 3, 2)}
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "expanded")


def agree(layer, x, kind="random", bound=SINGLE):
    layer = layer.float()
    x = maps_like(x)
    assert fused.runs_fused(x)
    wanted = expected(layer, x, kind)
    assert_agree(measured(layer, x, kind), wanted, bound, x.numel() // x.shape[1])


def maps_like(x):
    """In float32, with the strides of x."""
    return torch.empty_strided(x.shape, x.stride()).copy_(x) if 0 not in x.stride() else x.float()


@pytest.mark.parametrize("offered", SETS, ids="+".join)
@pytest.mark.parametrize("kind", [0, 1], ids=["SSN", "SN"])
@pytest.mark.parametrize(("dim", "correction"), [(1, 0), (2, 0), (2, 1), (3, 1)])
def test_every_set_of_normalizers(dim, kind, offered, correction):
    radius = 0.25 if len(offered) == 3 else 0.0
    layer = trained(LAYERS[dim][kind], 3, normalizers=offered, correction=correction, radius=radius)
    agree(layer, maps(SHAPES[dim]))


@pytest.mark.parametrize(
    ("dim", "layout", "kind"),
    [(2, layout, kind) for layout in LAYOUTS for kind in ("random", "sum", "strided")]
    + [(3, layout, "mean") for layout in LAYOUTS],
)
def test_every_layout_of_input_and_gradient(dim, layout, kind):
    agree(trained(LAYERS[dim][0], 3), maps(SHAPES[dim], layout), kind)


@pytest.mark.parametrize(
    "options",
    [
        {"affine": False},
        {"momentum": None},
        {"track_running_stats": False},
        {"shared_gate": True},
        {"groups": 2},
        {"groups": 4, "correction": 1},
        {"frozen": True},
        {"frozen": True, "shared_gate": True},
        {"radius": 0.0},
        {"radius": 0.6},
        {"eps": 1e-3},
    ],
    ids=str,
)
def test_every_option(options):
    agree(trained(SSN2d, 3, **options), maps((4, 3, 5, 4)))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("shape", [(5, 7, 1, 1), (1, 1, 1, 2), (1, 34, 3, 3), (18, 2, 2, 2)])
def test_odd_sizes(shape, layout):
    agree(trained(SSN2d, shape[1], normalizers=("LN", "BN"), radius=0.0), maps(shape, layout))


def test_vectors():
    agree(trained(LAYERS[1][0], 7, normalizers=("LN", "BN"), radius=0.0), maps((9, 7)))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_planes_that_are_reduced_in_parts(layout, monkeypatch):
    from ssn_prune.nn.fused import layout as tiles
    from ssn_prune.nn.fused.plan import _plan, plan_for

    monkeypatch.setattr(tiles, "_REDUCED", 64)
    monkeypatch.setattr(tiles, "_MAPPED", 64)
    monkeypatch.setattr(tiles, "_PROGRAMS_PER_MULTIPROCESSOR", 40)
    monkeypatch.setattr(tiles, "_TILES_PER_PART", 2)
    _plan.cache_clear()
    x = maps((4, 3, 19, 23), layout)
    layer = trained(SSN2d, 3, correction=1)
    plan = plan_for(x, _settings(layer))
    assert plan.parts > 2
    assert plan.mapping[1] > 2
    agree(layer, x)
    _plan.cache_clear()


def _settings(layer):
    from ssn_prune.nn._algebra import NormSettings

    return NormSettings(layer.eps, layer.normalizers, layer.correction)


@pytest.mark.parametrize("correction", [0, 1, 2])
@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_every_pair_after_freeze_selected(pair, correction):
    layer = trained(SSN2d, 3, correction=correction)
    layer.fix(pair.mean, pair.var)
    x, gradient = maps((4, 3, 5, 4)), maps((4, 3, 5, 4), seed=1)
    found = []
    for dtype in (torch.float32, torch.float64):  # float64 takes the path that other tests check
        module = freeze_selected(torch.nn.Sequential(layer)).model[0].to(dtype)
        given_x = x.to(dtype).requires_grad_()
        y = module(given_x)
        y.backward(gradient.to(dtype))
        parameters = [p.grad for p in module.parameters()]
        found.append([y.detach(), given_x.grad, *parameters, *module.buffers()])
    for single, double in zip(*found, strict=True):
        assert float((single.double() - double).abs().max()) <= 1e-5


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
def test_variances_of_their_own_count(layer_class):
    layer = trained(layer_class, 3, correction=2)
    x = maps((4, 3, 5, 4)).float()
    exact = measured(copy.deepcopy(layer), x.double())  # checked by the tests of this kind
    assert_agree(measured(layer.float(), x), exact, 1e-5, 80)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "half"])
def test_half_precision(dtype, whole):
    layer = trained(SSN2d, 3).float()
    x = maps((4, 3, 5, 4)).to(dtype)
    layer = layer.to(dtype) if whole else layer
    wanted = expected(layer, x)
    found = measured(layer, x)
    assert found["output"].dtype == found["d input"].dtype == dtype
    bound = 2 * torch.finfo(dtype).eps
    assert_agree(found, wanted, bound, 80)
    if not whole:
        statistics = ("running_mean", "running_var")
        exact = [{n: v for n, v in each.items() if n in statistics} for each in (found, wanted)]
        assert_agree(*exact, SINGLE)


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(2, 9)),
    st.sampled_from(LAYOUTS),
    st.sampled_from(SETS),
    st.integers(0, 2**16),
)
def test_any_shape(shape, layout, offered, seed):
    layer = trained(SSN2d, shape[1], seed=seed, normalizers=offered, radius=0.0)
    agree(layer, maps(shape, layout, seed=seed), bound=1e-5)


def test_a_wrong_kernel_would_be_noticed():
    layer = trained(SSN2d, 3).float()
    x = maps((4, 3, 5, 4)).float()
    wanted = expected(layer, x)
    found = measured(layer, x)
    for name in wanted:
        wrong = {**found, name: found[name] * (1 + 1e-4) + 1e-4}
        with pytest.raises(AssertionError, match=name):
            assert_agree(wrong, wanted, SINGLE, 80)
