"""Properties of SparsestMax over generated shapes, values and radii."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssn_prune import sparsestmax
from ssn_prune.nn.single_gate import vertex_radius

FRACTIONS = st.floats(0, 1.2, allow_subnormal=False)


@st.composite
def logits(draw, distinct=False):
    """(..., K) float64 logits; distinct ones are multiples of 1/8 without repetition."""
    k = draw(st.integers(1, 6))
    lead = draw(st.lists(st.integers(0, 3), max_size=2))
    rows = int(torch.tensor(lead).prod()) if lead else 1
    number = st.integers(-40, 40) if distinct else st.floats(-1e4, 1e4, allow_subnormal=False)
    row = st.lists(number, min_size=k, max_size=k, unique=distinct)
    values = torch.tensor([draw(row) for _ in range(rows)], dtype=torch.float64)
    return (values / 8 if distinct else values).reshape(*lead, k)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(z=logits(), fraction=FRACTIONS)
def test_result_is_feasible_and_keeps_the_order(z, fraction):
    k = z.shape[-1]
    radius = fraction * vertex_radius(k)
    p = sparsestmax(z, radius)
    assert p.shape == z.shape
    assert p.dtype == z.dtype
    assert (p >= 0).all()
    assert ((p.sum(-1) - 1).abs() <= 1e-12).all()
    reached = (p - 1 / k).square().sum(-1).sqrt()
    assert (reached >= min(radius, vertex_radius(k)) - 1e-12).all()
    larger = z.unsqueeze(-1) > z.unsqueeze(-2)
    not_smaller = p.unsqueeze(-1) >= p.unsqueeze(-2) - 1e-12
    assert (not_smaller | ~larger).all()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(z=logits(distinct=True), fraction=FRACTIONS, data=st.data())
def test_permuting_distinct_logits_permutes_the_ratios(z, fraction, data):
    order = data.draw(st.permutations(range(z.shape[-1])))
    radius = fraction * vertex_radius(z.shape[-1])
    torch.testing.assert_close(
        sparsestmax(z[..., order], radius), sparsestmax(z, radius)[..., order], rtol=0, atol=1e-12
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(z=logits(distinct=True), fraction=FRACTIONS, shift=st.integers(-(10**6), 10**6))
def test_a_common_shift_changes_no_bit(z, fraction, shift):
    radius = fraction * vertex_radius(z.shape[-1])
    assert torch.equal(sparsestmax(z + shift, radius), sparsestmax(z, radius))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(z=logits(distinct=True), fraction=FRACTIONS)
def test_gradient_is_finite_and_blind_to_a_common_shift(z, fraction):
    leaf = z.clone().requires_grad_()
    p = sparsestmax(leaf, fraction * vertex_radius(z.shape[-1]))
    (p * torch.arange(1, z.shape[-1] + 1)).sum().backward()
    assert leaf.grad.isfinite().all()
    scale = leaf.grad.abs().sum(-1) + 1
    assert (leaf.grad.sum(-1).abs() <= 1e-12 * scale).all()
