"""Which points of a front are distilled, and which one is delivered."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from report_runs import RESNET18
from search_samples import searched

from ssn_prune.searching import delivery
from ssn_prune.searching.results import FrontPoint, SearchOptions

POINTS = searched(RESNET18).front


def delivered(
    monkeypatch: pytest.MonkeyPatch,
    points: tuple[FrontPoint, ...],
    chosen: int,
    kept: float,
    **options: float,
) -> tuple[int | None, list[int]]:
    """The delivered index if distillation keeps that share of every loss, and what was tried."""
    tried: list[int] = []

    def distilled(*arguments: Any) -> Any:
        *_, measured, index, _ = arguments
        tried.append(index)
        point = measured.points[index]
        point = replace(point, drop=kept * point.drop, harm=kept * point.harm)
        return delivery.Distilled(index, point, None)

    monkeypatch.setattr(delivery, "_distilled", distilled)
    explorer: Any = SimpleNamespace(options=SearchOptions(finetune_steps=1, **options))
    measured: Any = SimpleNamespace(points=points)
    found = delivery.distilled_point(explorer, None, None, measured, chosen, None)
    return (None if found is None else found.index), tried


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.2, 0.1])
def test_the_fastest_point_that_ends_within_the_bound_is_delivered(monkeypatch, kept) -> None:
    chosen = max(index for index, point in enumerate(POINTS) if point.drop <= 1)
    good = [i for i, p in enumerate(POINTS) if i > chosen and p.drop <= 15 and kept * p.drop <= 1]
    found, tried = delivered(monkeypatch, POINTS, chosen, kept, max_drop=1.0)
    assert found == max(good, default=None)
    assert len(tried) <= 4


def test_a_point_that_a_faster_one_beats_is_not_distilled(monkeypatch) -> None:
    worse = replace(POINTS[8], drop=POINTS[9].drop + 1)
    points = (*POINTS[:8], worse, *POINTS[9:])
    _, tried = delivered(monkeypatch, points, 5, 1.0, max_drop=0.1)
    assert tried
    assert 8 not in tried


def test_within_a_latency_the_chosen_point_is_distilled(monkeypatch) -> None:
    assert delivered(monkeypatch, POINTS, 5, 0.5, budget=1.05) == (5, [5])
    assert delivered(monkeypatch, POINTS, 5, 1.0, budget=1.05) == (None, [5])
