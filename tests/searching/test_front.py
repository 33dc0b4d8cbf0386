"""The front, the choice from it, and the division of images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssn_prune.accuracy.results import Accuracy
from ssn_prune.errors import ArgumentError, DataError, SearchError
from ssn_prune.images.image_set import TargetKind
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.searching.choosing import choose
from ssn_prune.searching.front import pareto, spread
from ssn_prune.searching.parts import divide
from ssn_prune.searching.results import FrontPoint, SearchOptions
from ssn_prune.searching.selections import Changes


def changes(number: int) -> Changes:
    return ((f"layer{number}", ALL_PAIRS[0]),)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    saved = {changes(i): float(s) for i, (s, _) in enumerate(points)}
    harm = {changes(i): float(h) for i, (_, h) in enumerate(points)}
    front = pareto(saved, harm)
    expected = {
        (s, h)
        for s, h in points
        if not any(a >= s and b <= h and (a, b) != (s, h) for a, b in points)
    }
    assert {(saved[c], harm[c]) for c in front} == expected
    assert [saved[c] for c in front] == sorted({saved[c] for c in front})


@pytest.mark.parametrize("harm", [0.0, 0.5])
def test_the_original_is_always_the_first_point(harm: float) -> None:
    """Even if a change does no harm, or none that the images show."""
    saved = {(): 0.0, changes(1): 1.0, changes(2): 2.0}
    front = pareto(saved, {(): 0.0, changes(1): 0.0, changes(2): harm})
    assert front == [(), *([changes(1)] if harm else []), changes(2)]
    assert spread(front, saved, 2)[0] == ()


def test_points_are_spread_over_the_front() -> None:
    front = [changes(number) for number in range(30)]
    saved = {c: float(number) for number, c in enumerate(front)}
    chosen = spread(front, saved, 12)
    assert len(chosen) == 12
    assert chosen[0] == front[0]
    assert chosen[-1] == front[-1]
    places = [saved[c] for c in chosen]
    assert max(b - a for a, b in pairwise(places)) <= 4


def point(drop: float, ratio: float, harm: float | None = None) -> FrontPoint:
    accuracy = Accuracy(top1=0.9)
    return FrontPoint((), harm or drop / 100, 0.0, drop, accuracy, ratio, ratio, ratio, ratio)


FRONT = [point(0.0, 1.10), point(0.3, 1.06), point(0.9, 1.03), point(4.0, 1.0)]


def test_the_fastest_within_the_drop_is_chosen() -> None:
    assert choose(FRONT, SearchOptions()) == 1  # half a point by default
    assert choose(FRONT, SearchOptions(max_drop=1.0)) == 2
    assert choose(FRONT, SearchOptions(max_drop=100.0)) == 3
    assert choose(FRONT, SearchOptions(max_drop=0.0)) == 0


def test_the_least_harm_within_the_budget_is_chosen() -> None:
    assert choose(FRONT, SearchOptions(budget=1.05)) == 2
    assert choose(FRONT, SearchOptions(budget=2.0)) == 0
    assert choose(FRONT, SearchOptions(budget=1.05, max_drop=10.0)) == 2


def test_an_impossible_bound_says_the_nearest_possible_one_which_works() -> None:
    with pytest.raises(SearchError, match=r"budget=1\.000") as raised:
        choose(FRONT, SearchOptions(budget=0.99))
    assert raised.value.hint is not None
    assert choose(FRONT, SearchOptions(budget=1.000)) == 3
    with pytest.raises(SearchError, match=r"budget=1\.030"):
        choose(FRONT, SearchOptions(budget=1.01, max_drop=1.0))
    assert choose(FRONT, SearchOptions(budget=1.030, max_drop=1.0)) == 2
    with pytest.raises(SearchError, match=r"max_drop=0\.30"):
        choose(FRONT[1:], SearchOptions(max_drop=0.1))
    assert choose(FRONT[1:], SearchOptions(max_drop=0.30)) == 0


class Labels:
    """Images of which only the labels matter."""

    preprocessing = None
    classes = ()

    def __init__(self, labels: Sequence[int], kind: TargetKind = TargetKind.CLASSES) -> None:
        self.labels, self.kind = labels, kind
        self.names = tuple(map(str, range(len(labels))))

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        raise AssertionError("nothing is read to divide images")

    def pixels(self, indices: Sequence[int]) -> Tensor | None:
        raise AssertionError("nothing is read to divide images")

    def targets(self, indices: Sequence[int]) -> Tensor | None:
        return torch.tensor([self.labels[index] for index in indices])

    def preview(self, index: int) -> bytes | None:
        return None


@settings(max_examples=30, deadline=None)
@given(st.integers(32, 900), st.integers(2, 10), st.booleans())
def test_parts_are_disjoint_and_have_their_share_of_each_class(
    count: int, classes: int, apart: bool
) -> None:
    images = Labels([number * classes // count for number in range(count)])
    test = Labels([0] * 40) if apart else None
    parts = divide(images, test, search_images=160)
    assert set(parts.calibration) <= set(parts.training)
    used = [*parts.training, *parts.search, *(() if apart else parts.test)]
    assert len(set(used)) == len(used)
    assert set(used) == set(range(count))
    assert len(parts.test) == (40 if apart else (count + 1) // 2)
    for part in (parts.calibration, parts.search):
        found = Counter(images.labels[index] for index in part)
        share = len(part) / classes
        assert all(abs(found[label] - share) <= 2 for label in range(classes))


def test_the_division_is_the_same_each_time_and_another_with_another_seed() -> None:
    images = Labels([0, 1] * 100)
    assert divide(images, None, search_images=160) == divide(images, None, search_images=160)
    assert divide(images, None, seed=1, search_images=160) != divide(
        images, None, search_images=160
    )


@pytest.mark.parametrize(("count", "apart", "needed"), [(31, False, 32), (15, True, 16)])
def test_too_few_images_are_refused(count: int, apart: bool, needed: int) -> None:
    test = Labels([0]) if apart else None
    with pytest.raises(DataError, match=f"{needed} images or more"):
        divide(Labels([0] * count), test, search_images=160)
    divide(Labels([0] * needed), test, search_images=160)


def test_the_search_may_have_more_images_but_not_too_few() -> None:
    images = Labels([0, 1] * 600)
    few, many = (divide(images, None, search_images=count) for count in (160, 1000))
    assert (len(few.search), len(many.search)) == (160, 400)
    assert few.test == many.test


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("budget", (0, -1.0, math.nan, math.inf), (None, 1e-9, 3)),
        ("max_drop", (-1e-9, math.nan, math.inf), (None, 0, 100)),
        ("finetune_steps", (-1, 2.0), (0, 7)),
        ("search_images", (7, math.nan), (8,)),
        ("points", (0, 1), (2,)),
        *((name, (0, -3, 1.5, "4"), (1, np.int64(4))) for name in ("rounds", "runs", "memory")),
        *((name, (0, -3, 1.5), (1, 64)) for name in ("threads", "batch")),
        ("seed", (0.5,), (-3, 0)),
    ],
)
def test_values_that_no_search_could_use_are_refused_at_once(name, bad, good) -> None:
    for value in bad:
        with pytest.raises(ArgumentError, match=f"leave `{name}=` out") as raised:
            SearchOptions(**{name: value})
        assert raised.value.found == f"`{name}={value}`"
    for value in good:
        SearchOptions(**{name: value})
