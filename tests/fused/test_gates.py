"""The gates that the kernels solve, against the solver in plain numbers."""

from __future__ import annotations

import math

import pytest
import torch
import triton
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssn_prune.nn.fused.kernels.gates import pull_back, solve_gate
from ssn_prune.nn.single_gate import frozen_gate, softmax_gate, vertex_radius
from ssn_prune.nn.single_gate import solve_gate as in_numbers

# Of values that are not finite, which a GPU passes on.
NUMPY_WARNS = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@triton.jit
def one_gate(out, gradient, logits, radius, fixed, frozen, wanted, GATE, FIRST, SECOND, K):
    solve_gate(out, logits, radius, fixed, frozen, 0, GATE, FIRST, SECOND, K)
    for_in, for_ln, for_bn = wanted, wanted + 1, wanted + 2
    pull_back(
        gradient,
        out,
        triton.language.load(for_in),
        triton.language.load(for_ln),
        triton.language.load(for_bn),
        FIRST,
        SECOND,
        K,
    )


def solved(logits, radius=0.0, *, kind="sparsestmax", frozen=None, slots=None):
    """Ratios of IN, LN and BN, and the logits' gradients for ratios' gradients 0.3, -0.7, 1.1."""
    k = len(logits)
    slots = slots or (0, 1)
    out = torch.full((12,), math.nan, dtype=torch.float64)
    gradient = torch.full((k,), math.nan, dtype=torch.float64)
    one_gate[(1,)](
        out,
        gradient,
        torch.tensor(logits, dtype=torch.float64),
        torch.tensor([radius], dtype=torch.float64),
        torch.tensor([int(frozen is not None)]),
        torch.tensor(frozen or [0.0] * k, dtype=torch.float64),
        torch.tensor(GRADIENT, dtype=torch.float64),
        kind,
        *slots,
        k,
    )
    return out[:3].tolist(), gradient.tolist()


SINGLE = 2e-7  # gradients are stored through float32, as most logits are
GRADIENT = [0.3, -0.7, 1.1]
TIES = [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [2.0, 2.0, 2.0 - 1e-9]]
RADII = [0.0, 0.1, 0.3, 1 / math.sqrt(6), 0.5, 0.7, vertex_radius(3), 1.0]


def agree(logits, radius):
    wanted = in_numbers(logits, radius)
    ratios, gradient = solved(logits, radius)
    assert ratios == pytest.approx(wanted.ratios, abs=1e-13)
    expected = wanted.vector_jacobian(GRADIENT)
    assert gradient == pytest.approx(expected, abs=SINGLE * (1 + abs(wanted.gain)))
    return ratios


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("logits", TIES, ids=str)
def test_ties_and_vertices(logits, radius):
    ratios = agree(logits, radius)
    if radius >= vertex_radius(3):
        assert sorted(ratios) == [0.0, 0.0, 1.0]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.floats(0, 0.9), st.sampled_from([1, 50])
)
def test_three_choices(logits, radius, scale):
    # Next to a face the two solvers may round to different sides of it.
    if min(abs(a - b) for a, b in zip(logits, logits[1:] + logits[:1], strict=True)) > 1e-3:
        wanted = in_numbers([z * scale for z in logits], radius)
        ratios, _ = solved([z * scale for z in logits], radius)
        assert ratios == pytest.approx(wanted.ratios, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.sampled_from([0.0, 0.2, 0.6, 0.8]))
def test_two_choices(logits, radius):
    # Gates that are closer turn so fast that float32 has no number for it.
    assume(logits[0] == logits[1] or abs(logits[0] - logits[1]) > 1e-30)
    wanted = in_numbers(logits, radius)
    ratios, gradient = solved(logits, radius, slots=(0, 2))
    assert [ratios[0], ratios[2]] == pytest.approx(wanted.ratios, abs=1e-13)
    assert ratios[1] == 0
    expected = wanted.vector_jacobian([GRADIENT[0], GRADIENT[2]])
    if radius == 0:
        assert gradient == pytest.approx(expected, abs=SINGLE)


def test_large_equal_offsets_are_nothing():
    assert solved([1e9, 1e9 + 0.25, 1e9 + 0.5]) == solved([0.0, 0.25, 0.5])


@NUMPY_WARNS
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_a_number_makes_the_gate_undefined(bad, place):
    logits = [0.1, 0.2, 0.3]
    logits[place] = bad
    assert all(map(math.isnan, solved(logits, 0.2)[0]))


@NUMPY_WARNS
def test_minus_infinity_is_never_chosen():
    ratios, _ = solved([0.1, -math.inf, 0.3], 0.0)
    assert ratios == pytest.approx(in_numbers([0.1, -math.inf, 0.3], 0.0).ratios)


@pytest.mark.parametrize(
    ("logits", "stored", "wanted"),
    [
        ([0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]),  # loaded
        ([0.2, 0.9, -0.1], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]),  # pushed by momentum
        ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]),  # set to another vertex
        ([0.2, 0.3, 0.5], [0.0, 0.0, 0.0], [0.2, 0.3, 0.5]),  # flagged by hand
    ],
)
def test_frozen_gates_are_what_was_stored(logits, stored, wanted):
    ratios, gradient = solved(logits, 0.3, frozen=stored)
    assert ratios == wanted
    assert gradient == frozen_gate(wanted).vector_jacobian(GRADIENT) == [0.0, 0.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3))
def test_softmax(logits):
    wanted = softmax_gate(logits)
    ratios, gradient = solved(logits, kind="softmax")
    assert ratios == pytest.approx(wanted.ratios, abs=1e-14)
    assert gradient == pytest.approx(wanted.vector_jacobian(GRADIENT), abs=SINGLE)


def test_ratios_that_are_given_have_no_gradient():
    ratios, gradient = solved([1.0, 0.0], kind="given", slots=(1, 2))
    assert ratios == [0.0, 1.0, 0.0]
    assert all(map(math.isnan, gradient))  # never asked for
