"""Moments against direct float64 numpy formulas."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssn_prune.nn.statistics import instance_moments, pooled_moments

SHAPES = st.tuples(*(st.integers(1, 5) for _ in range(4)))


def random_maps(shape, seed, mean=0.0, std=1.0):
    return np.random.default_rng(seed).normal(mean, std, shape)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 2**31), correction=st.sampled_from([0, 1]))
def test_instance_moments_are_those_of_every_plane(shape, seed, correction):
    x = random_maps(shape, seed, mean=3.0)
    mean, var = instance_moments(torch.from_numpy(x), correction)
    assert mean.shape == var.shape == (*shape[:2], 1, 1)
    np.testing.assert_allclose(mean.numpy(), x.mean((2, 3), keepdims=True), rtol=1e-12)
    n = shape[2] * shape[3]
    if n == 1 and correction:
        assert var.isnan().all()
    else:
        squares = ((x - x.mean((2, 3), keepdims=True)) ** 2).sum((2, 3), keepdims=True)
        np.testing.assert_allclose(var.numpy(), squares / (n - correction), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("dim", "axes"), [(1, (1, 2, 3)), (0, (0, 2, 3))])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 2**31))
def test_pooled_biased_moments_are_those_of_all_entries(dim, axes, shape, seed):
    x = random_maps(shape, seed, mean=-2.0)
    mean, var = pooled_moments(*instance_moments(torch.from_numpy(x)), dim=dim)
    np.testing.assert_allclose(mean.numpy(), x.mean(axes, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(var.numpy(), x.var(axes, keepdims=True), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dim", [0, 1])
def test_pooled_corrected_moments_correct_only_the_instance_variance(dim):
    x = random_maps((4, 5, 3, 2), seed=0, mean=1.0)
    mean, var = pooled_moments(*instance_moments(torch.from_numpy(x), 1), dim=dim)
    means, variances = x.mean((2, 3)), x.var((2, 3), ddof=1)
    expected = (variances + means**2).mean(dim) - means.mean(dim) ** 2  # the reference form
    np.testing.assert_allclose(mean.numpy().ravel(), means.mean(dim), rtol=1e-12)
    np.testing.assert_allclose(var.numpy().ravel(), expected, rtol=1e-12)
    assert abs(var.numpy().ravel() - x.var((dim, 2, 3))).min() > 0.01


@pytest.mark.parametrize("correction", [0, 1])
def test_float32_survives_a_mean_of_100_with_deviation_one_hundredth(correction):
    x = random_maps((4, 8, 28, 28), seed=0, mean=100.0, std=0.01).astype(np.float32)
    wide = x.astype(np.float64)
    mean_in, var_in = instance_moments(torch.from_numpy(x), correction)
    exact = wide.var((2, 3), ddof=correction, keepdims=True)
    np.testing.assert_allclose(mean_in.numpy(), wide.mean((2, 3), keepdims=True), rtol=2e-7)
    # A mean off by one unit in the last place, 7.6e-6, adds its square: 6e-7 of the variance 1e-4.
    np.testing.assert_allclose(var_in.numpy(), exact, rtol=2e-6)
    # The means deviate by 3.6e-4 and are stored to 3.8e-6: 2.7e-5 of the variance.
    for dim, axis in ((1, 1), (0, 0)):
        _, var = pooled_moments(mean_in, var_in, dim=dim)
        means = wide.mean((2, 3), keepdims=True)
        total = exact.mean(axis, keepdims=True) + means.var(axis, keepdims=True)
        np.testing.assert_allclose(var.numpy(), total, rtol=3e-5)
    textbook = (x * x).mean((2, 3)) - x.mean((2, 3)) ** 2  # what the bound above rules out
    assert (abs(textbook - exact.squeeze()) > exact.squeeze()).any()


def test_one_position_with_correction_is_nan_without_a_warning():
    x = torch.randn(2, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, var = instance_moments(x, 1)
    assert torch.equal(mean, x)
    assert var.shape == (2, 3, 1, 1)
    assert var.isnan().all()


def test_one_position_without_correction_has_no_spread():
    mean, var = instance_moments(torch.full((2, 3, 1, 1), 5.0))
    assert torch.equal(var, torch.zeros(2, 3, 1, 1))
    assert torch.equal(mean, torch.full((2, 3, 1, 1), 5.0))
