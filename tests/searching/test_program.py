"""The integer program against all selections."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.searching.candidates import Alternative, worth_choosing
from ssn_prune.searching.program import cheapest_harm
from ssn_prune.searching.selections import Changes
from ssn_prune.searching.surrogate import Surrogate

numbers = st.floats(0.01, 10, allow_nan=False)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Alternative], float]:
    found = []
    for layer in range(draw(st.integers(1, 4))):
        for pair in ALL_PAIRS[: draw(st.integers(1, 3))]:
            saved, harm = draw(numbers), draw(numbers)
            found.append(Alternative(f"layer{layer}", pair, 10 - saved, saved, harm))
    return found, draw(st.floats(0.01, 1))


def every_selection(alternatives: Sequence[Alternative]) -> list[tuple[Alternative, ...]]:
    layers = dict.fromkeys(one.layer for one in alternatives)
    choices = [[None, *(o for o in alternatives if o.layer == layer)] for layer in layers]
    return [tuple(filter(None, found)) for found in itertools.product(*choices)]


def saved(alternatives: Sequence[Alternative], changes: Changes) -> float:
    by_change = {(one.layer, one.pair): one.saved for one in alternatives}
    return sum(by_change[change] for change in changes)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_no_selection_saves_as_much_at_less_harm(problem: tuple[list[Alternative], float]) -> None:
    alternatives, share = problem
    layers = dict.fromkeys(one.layer for one in alternatives)
    most = sum(max(o.saved for o in alternatives if o.layer == layer) for layer in layers)
    goal = share * most
    surrogate = Surrogate.of_singles(alternatives)
    found = cheapest_harm(alternatives, surrogate, goal)
    assert found is not None
    assert len({layer for layer, _ in found}) == len(found)
    assert saved(alternatives, found) >= goal * (1 - 1e-6)
    best = min(
        sum(one.harm for one in selection)
        for selection in every_selection(alternatives)
        if sum(one.saved for one in selection) >= goal
    )
    assert surrogate.harm(found) <= best + 1e-6


def test_of_selections_within_the_noise_the_faster_one_is_chosen() -> None:
    slow = Alternative("layer", ALL_PAIRS[0], 5.0, 1.0, harm=0.100)
    fast = Alternative("layer", ALL_PAIRS[1], 1.0, 5.0, harm=0.101)
    for error, chosen in ((0.0, slow), (0.1, fast)):
        both = [replace(one, error=error) for one in (slow, fast)]
        found = cheapest_harm(both, Surrogate.of_singles(both), 0.5)
        assert found == (("layer", chosen.pair),)


def test_the_noise_of_a_harmful_layer_does_not_hide_what_others_do() -> None:
    layers = [Alternative(f"layer{i}", ALL_PAIRS[0], 0.0, 1.0, harm=0.001) for i in range(9)]
    layers.append(Alternative("harmful", ALL_PAIRS[0], 0.0, 1.0, harm=1.0, error=0.1))
    for count in range(1, 11):
        found = cheapest_harm(layers, Surrogate.of_singles(layers), count)
        assert found is not None
        assert len(found) == count


def test_more_than_all_alternatives_save_is_impossible() -> None:
    only = Alternative("layer", ALL_PAIRS[0], 5.0, 1.0, harm=0.1)
    assert cheapest_harm([only], Surrogate.of_singles([only]), 1.5) is None


@settings(max_examples=60, deadline=None)
@given(problems())
def test_what_is_worth_a_choice_keeps_every_best_selection(
    problem: tuple[list[Alternative], float],
) -> None:
    alternatives, _ = problem
    worth = worth_choosing(alternatives)
    for one in alternatives:
        assert any(
            other.layer == one.layer
            and other.milliseconds <= one.milliseconds
            and other.harm <= one.harm
            for other in worth
        )
    for one, other in itertools.permutations(worth, 2):
        if one.layer == other.layer:
            assert (
                one.milliseconds > other.milliseconds
                or one.harm > other.harm
                or ((one.milliseconds, one.harm) == (other.milliseconds, other.harm))
            )


def test_the_fit_follows_measurements_and_keeps_the_rest() -> None:
    a, b, c = (Alternative(name, ALL_PAIRS[0], 0.0, 1.0, harm=1e-2) for name in "abc")
    singles = Surrogate.of_singles([a, b, c])
    both = (("a", ALL_PAIRS[0]), ("b", ALL_PAIRS[0]))
    fitted = singles.fitted({both: 0.1})
    assert fitted.harm(both) == pytest.approx(0.1, rel=0.35)
    assert fitted.harm(both) > 0.05
    assert fitted.terms["c", ALL_PAIRS[0]] == pytest.approx(1e-2, rel=1e-6)
    assert min(fitted.terms.values()) >= 0
