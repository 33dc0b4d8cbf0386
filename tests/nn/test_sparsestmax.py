"""SparsestMax against a brute force over the simplex, finite differences and its definition."""

import math
import re

import pytest
import torch
from simplex_oracle import RESOLUTION, brute_force
from torch._subclasses.fake_tensor import FakeTensorMode

from ssn_prune import sparsestmax
from ssn_prune.nn.single_gate import vertex_radius


def bisected_sparsemax(z):
    """Projection on the simplex by bisection of its threshold; z (..., K) in float64."""
    low, high = z.amax(-1, keepdim=True) - 1, z.amax(-1, keepdim=True)
    for _ in range(100):
        middle = (low + high) / 2
        heavy = (z - middle).clamp(min=0).sum(-1, keepdim=True) > 1
        low, high = torch.where(heavy, middle, low), torch.where(heavy, high, middle)
    return (z - high).clamp(min=0)


def sparsemax_jacobian(z):
    support = (bisected_sparsemax(z.double()) > 1e-9).double()
    return torch.diag(support) - torch.outer(support, support) / support.sum()


def jacobian(z, radius):
    return torch.autograd.functional.jacobian(lambda v: sparsestmax(v, radius), z)


def random_problems(k, count, seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, k, generator=generator, dtype=torch.float64)
    z *= torch.tensor([0.03, 0.3, 1.0, 3.0], dtype=torch.float64).repeat(count // 4).unsqueeze(1)
    radius = torch.rand(count, generator=generator, dtype=torch.float64) * vertex_radius(k)
    return z, radius


def assert_feasible(p, radius, dim=-1):
    k = p.shape[dim]
    assert (p >= 0).all()
    assert (p.sum(dim) - 1).abs().max() <= 1e-12
    reached = (p - 1 / k).square().sum(dim).sqrt()
    assert (
        reached >= torch.as_tensor(radius, dtype=p.dtype).clamp(max=vertex_radius(k)) - 1e-12
    ).all()


@pytest.mark.parametrize(("k", "count"), [(2, 100), (3, 600), (4, 300)])
def test_no_feasible_point_beats_it(k, count):
    z, radius = random_problems(k, count, seed=k)
    p = sparsestmax(z, radius)
    oracle, oracle_value = brute_force(z, radius)
    assert_feasible(oracle, radius)
    assert_feasible(p, radius)
    value = (p - z).square().sum(-1)
    assert (value - oracle_value).max() <= RESOLUTION
    assert (value - oracle_value).min() >= -RESOLUTION, "the oracle itself missed the minimum"
    assert (p - oracle).abs().max() <= 5e-7


def test_the_oracle_notices_a_rounded_gate():
    z, radius = random_problems(3, 40, seed=0)
    argmax = torch.nn.functional.one_hot(z.argmax(-1), 3).double()
    _, oracle_value = brute_force(z, radius)
    assert ((argmax - z).square().sum(-1) - oracle_value > RESOLUTION).sum() > 10


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_gradient_matches_finite_differences(k):
    generator = torch.Generator().manual_seed(k)
    z = torch.randn(24, k, generator=generator, dtype=torch.float64) * 0.4
    radius = torch.linspace(0, 1, 24, dtype=torch.float64) * vertex_radius(k)
    assert torch.autograd.gradcheck(lambda v: sparsestmax(v, radius), z.requires_grad_())


@pytest.mark.parametrize("offset", [0.0, 2.0, -300.0])
@pytest.mark.parametrize("fraction", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    ("logits", "winner"),
    [((1, 1, 1), 0), ((1, 1, 0.75), 0), ((0.75, 1, 1), 1), ((1, 0.5, 1), 0), ((2, 2, 2, 2), 0)],
)
def test_exact_tie_goes_to_the_lowest_index_with_sparsemax_gradient(
    logits, winner, fraction, offset
):
    z = torch.tensor(logits, dtype=torch.float64) + offset
    radius = fraction * vertex_radius(len(logits))
    p = sparsestmax(z, radius)
    assert_feasible(p, radius)
    if fraction:
        others = torch.cat([p[:winner], p[winner + 1 :]])
        assert (p[winner] > others).all()
    else:
        torch.testing.assert_close(p, bisected_sparsemax(z), rtol=0, atol=1e-12)
    slope = jacobian(z, radius)
    assert slope.abs().max() > 0.1
    torch.testing.assert_close(slope, sparsemax_jacobian(z), rtol=0, atol=1e-12)


def test_radius_zero_is_sparsemax():
    z, _ = random_problems(5, 400, seed=1)
    torch.testing.assert_close(sparsestmax(z, 0.0), bisected_sparsemax(z), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("k", [2, 3, 4, 7])
def test_last_radius_gives_exact_one_hot_without_gradient(k, dtype):
    z = torch.randn(200, k, generator=torch.Generator().manual_seed(k)).to(dtype)
    expected = torch.nn.functional.one_hot(z.argmax(-1), k).to(dtype)
    last = math.sqrt((k - 1) / k)
    for radius in (last, last * (1 - 0.9e-6), 1.0, torch.tensor(last), 5):
        leaf = z.clone().requires_grad_()
        p = sparsestmax(leaf, radius)
        assert torch.equal(p, expected)
        (p * torch.arange(1.0, k + 1)).sum().backward()
        assert torch.equal(leaf.grad, torch.zeros_like(z))


def test_just_below_the_last_radius_is_not_yet_one_hot():
    p = sparsestmax(torch.tensor([0.1, 0.0, -0.1]).double(), vertex_radius(3) * (1 - 1e-5))
    assert p.max() < 1


@pytest.mark.parametrize("exponent", range(-5, 5))
def test_float32_follows_float64_at_every_scale(exponent):
    generator = torch.Generator().manual_seed(exponent + 5)
    z = torch.randn(300, 3, generator=generator) * 10.0**exponent
    for radius in (0.0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8):
        wide = sparsestmax(z.double(), torch.tensor(radius).double())
        error = (sparsestmax(z, radius).double() - wide).abs().max()
        assert error <= 2e-6, (radius, float(error))


def test_large_common_offset_changes_no_bit():
    z = torch.randint(-64, 64, (200, 4), generator=torch.Generator().manual_seed(0)) / 64
    for radius in (0.0, 0.4, 0.7):
        assert torch.equal(sparsestmax(z + 2.0**16, radius), sparsestmax(z, radius))


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_any_axis_equals_moving_it_last(dim):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    rest = z.movedim(dim, -1).shape[:-1]
    radius = 0.9 * torch.rand(rest, generator=generator, dtype=torch.float64)
    p = sparsestmax(z, radius, dim=dim)
    assert torch.equal(p, sparsestmax(z.movedim(dim, -1), radius).movedim(-1, dim))
    assert_feasible(p, radius, dim)


def test_radius_tensor_acts_row_by_row():
    z, radius = random_problems(3, 40, seed=2)
    rows = torch.stack([sparsestmax(row, float(r)) for row, r in zip(z, radius, strict=True)])
    assert torch.equal(sparsestmax(z, radius), rows)
    grid = sparsestmax(z.view(4, 10, 3), radius[:10])  # broadcasts over the leading axis
    assert torch.equal(grid[0], sparsestmax(z[:10], radius[:10]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    p = sparsestmax(z, 0.5)
    assert p.dtype == dtype
    assert torch.equal(p, sparsestmax(z.float(), 0.5).to(dtype))
    (p * torch.tensor([1.0, 2.0, 3.0], dtype=dtype)).sum().backward()
    assert z.grad.dtype == dtype
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.0])
def test_a_single_choice_is_always_taken(radius):
    z = torch.tensor([[2.0], [-7.0]], requires_grad=True)
    p = sparsestmax(z, radius)
    p.sum().backward()
    assert torch.equal(p, torch.ones(2, 1))
    assert torch.equal(z.grad, torch.zeros(2, 1))


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.0])
def test_nan_stays_in_its_row(radius):
    z = torch.tensor([[0.3, 0.1, 0.0], [0.0, math.nan, 1.0], [0.2, 0.5, 0.4]])
    p = sparsestmax(z, radius)
    assert p[1].isnan().all()
    assert torch.equal(p[[0, 2]], sparsestmax(z[[0, 2]], radius))


@pytest.mark.parametrize(
    ("z", "radius", "dim", "error", "message"),
    [
        (torch.tensor([1, 2, 3]), 0.1, -1, TypeError, "needs floating logits, got torch.int64"),
        (torch.zeros(2, 3), 0.1, 2, ValueError, "dim 2 is out of range"),
        (torch.zeros(2, 3), 0.1, -3, ValueError, "dim -3 is out of range"),
        (torch.tensor(1.0), 0.1, -1, ValueError, "out of range for logits of shape ()"),
        (torch.zeros(2, 0), 0.1, -1, ValueError, "at least one choice"),
        (torch.zeros(2, 3), -0.1, -1, ValueError, "radius must be a number >= 0, got -0.1"),
        (torch.zeros(2, 3), math.nan, -1, ValueError, "radius must be a number >= 0, got nan"),
    ],
)
def test_wrong_arguments_are_refused(z, radius, dim, error, message):
    with pytest.raises(error, match=re.escape(message)):
        sparsestmax(z, radius, dim)


@pytest.mark.parametrize("device", ["meta", "fake"])
def test_nothing_depends_on_values_so_the_host_never_waits(device):
    with FakeTensorMode() if device == "fake" else torch.device(device):
        z = torch.zeros(5, 3, requires_grad=True)
        p = sparsestmax(z, torch.zeros(5))
        p.sum().backward()
    assert p.shape == z.grad.shape == (5, 3)
