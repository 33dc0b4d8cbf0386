"""The reference code's gates against recorded ones (tests/data/official_gates.csv).

They come from ``tests/support/extract_golden_gates.py``: among them is every gate of 2,080 that is
not the paper's.
"""

import csv
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssn_prune.nn.gate_tensors import solve_gates
from ssn_prune.nn.reference_gate import on_simplex, reference_gate, solved
from ssn_prune.nn.reference_sparsestmax import reference_sparsestmax
from ssn_prune.nn.single_gate import is_vertex, solve_gate

TOLERANCE = 1e-6
TIED = ([1.0, 1.0, 1.0], [0.5, 0.5, -3.0], [-3.0, 0.4, 0.4])

with (Path(__file__).parents[1] / "data" / "official_gates.csv").open(encoding="utf-8") as file:
    ROWS = [tuple(map(float, row)) for row in csv.reader(file)]
GOLDEN = [(list(row[:3]), row[3], list(row[4:])) for row in ROWS]
# Where the reference code's ratios do not sum to 1.
LEFT = [[0.0, 0.0, 0.0], [0.800000011920929, 0.0, 0.0]]

NUMBERS = st.one_of(
    st.integers(-4, 4).map(float),  # ties
    st.floats(-3, 3, width=32, allow_subnormal=False),
    st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    st.sampled_from((math.nan, math.inf, -math.inf, 3e38, -3e38)),
)


def distance(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def bits(ratios):
    return torch.tensor(ratios, dtype=torch.float32).view(torch.int32).tolist()


def test_every_recorded_gate_is_reproduced():
    assert len(GOLDEN) > 250
    for logits, radius, ratios in GOLDEN:
        assert distance(reference_gate(logits, radius), ratios) <= TOLERANCE


def test_all_but_the_vertices_are_reproduced_bit_by_bit():
    for logits, radius, ratios in GOLDEN:
        found = reference_gate(logits, radius)
        assert is_vertex(found) or bits(found) == bits(ratios)


def test_two_recorded_gates_leave_the_simplex():
    left = [ratios for logits, radius, ratios in GOLDEN if not on_simplex(ratios)]
    assert left == LEFT
    assert [p for z, r, p in GOLDEN if not on_simplex(reference_gate(z, r))] == LEFT


def test_the_paper_s_gates_are_others():
    apart = [distance(solve_gate(z, r).ratios, p) for z, r, p in GOLDEN if on_simplex(p)]
    assert sum(error > 1e-3 for error in apart) > 150
    assert max(apart) > 0.25


def test_float64_gives_others_where_the_code_divides_by_a_small_difference():
    apart = [distance(reference_gate(z, r, float64=True), p) for z, r, p in GOLDEN if on_simplex(p)]
    assert max(apart) > 3 * TOLERANCE
    assert sum(error <= TOLERANCE for error in apart) > 0.9 * len(apart)


def test_the_tensor_form_gives_the_same_bits_for_recorded_gates():
    z = torch.tensor([row[0] for row in GOLDEN])
    r = torch.tensor([[row[1]] for row in GOLDEN], dtype=torch.float64)
    expected = [reference_gate(logits, radius) for logits, radius, _ in GOLDEN]
    assert bits(reference_sparsestmax(z, r).tolist()) == bits(expected)


@pytest.mark.parametrize("float64", [False, True])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_both_forms_give_the_same_bits(float64, data):
    k = data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.lists(NUMBERS, min_size=k, max_size=k), min_size=1, max_size=4))
    radius = data.draw(st.sampled_from((0.0, 0.05, 0.3, 0.5, 0.7, 0.75, 0.8165, 1.0)))
    z = torch.tensor(rows, dtype=torch.float64)
    r = torch.full((len(rows), 1), radius, dtype=torch.float64)
    found = reference_sparsestmax(z, r, float64=float64)
    for row, ratios in zip(rows, found.tolist(), strict=True):
        expected = reference_gate(row, radius, float64=float64)
        assert ratios == expected or (all(map(math.isnan, [*ratios, *expected])))


def test_a_gate_next_to_a_vertex_is_that_vertex():
    raw = [p for _, _, p in GOLDEN if 0 < 1 - max(p) < TOLERANCE]
    assert len(raw) > 10  # they miss it by rounding
    for logits, r, ratios in GOLDEN:
        if ratios in raw:
            assert is_vertex(reference_gate(logits, r))


@pytest.mark.parametrize("logits", TIED)
def test_tied_logits_leave_the_simplex(logits):
    assert not on_simplex(reference_gate(logits, 0.4))
    assert on_simplex(reference_gate(logits, 0.0))  # sparsemax


@pytest.mark.parametrize(
    "ratios", [[math.nan] * 3, [0.5, 0.4, 0.0], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0]]
)
def test_what_is_not_on_the_simplex(ratios):
    assert not on_simplex(ratios)


def test_precision_of_the_logits_does_not_matter():
    z, r = torch.tensor([[0.3, 0.31, -0.4]]), torch.tensor([[0.6]])
    single = reference_sparsestmax(z, r)
    assert torch.equal(reference_sparsestmax(z.double(), r.double()).float(), single)
    assert reference_sparsestmax(z.double(), r.double()).dtype == torch.float64


def test_the_gradient_is_that_of_the_paper_s_gate():
    logits, radius, gradient = [0.2, 0.45, 0.0], 0.55, [0.3, -1.0, 0.7]
    plain = solved(logits, radius, "reference")
    assert distance(plain.ratios, solve_gate(logits, radius).ratios) <= TOLERANCE
    expected = solve_gate(logits, radius).vector_jacobian(gradient)
    assert plain.vector_jacobian(gradient) == expected
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    p = solve_gates(z, torch.tensor([radius]).double().squeeze(), "reference")
    (found,) = torch.autograd.grad(p, z, torch.tensor(gradient, dtype=torch.float64))
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert p.tolist() == plain.ratios
