"""Accuracy, agreement and intervals, against counts by hand and published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ssn_prune.accuracy.agreement import relative_differences, same_classes
from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.paired import paired
from ssn_prune.accuracy.per_image import PerImage, joined, score
from ssn_prune.errors import ArgumentError, DataError
from ssn_prune.images.image_set import TargetKind

CLASSES, MAPS, NONE = TargetKind.CLASSES, TargetKind.MAPS, TargetKind.NONE


def test_top_1_and_top_5_are_counted():
    outputs = torch.arange(10.0).repeat(4, 1)  # class 9 first, 5 the last of five
    found = score(outputs, torch.tensor([9, 5, 4, 8]), CLASSES)
    assert found.right.tolist() == [True, False, False, False]
    assert found.right5.tolist() == [True, True, False, True]
    accuracy = accuracy_of(found)
    assert (accuracy.top1, accuracy.top5, accuracy.miou) == (0.25, 0.75, None)
    assert accuracy_of(score(outputs[:, :5], torch.zeros(4).long(), CLASSES)).top5 is None


def one_hot_maps(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("void", [-1, 3, 255])
def test_mean_iou_is_that_of_a_count_pixel_by_pixel(void):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 3, (5, 6, 7), generator=generator)
    targets[:, 0, :3] = void
    predicted = torch.randint(0, 2, (5, 6, 7), generator=generator)  # class 2 never
    parts = [
        score(one_hot_maps(predicted[s], 3), targets[s], MAPS) for s in (slice(0, 2), slice(2, 5))
    ]
    ratios = []
    for label in range(3):
        inside = [
            (p == label, t == label)
            for p, t in zip(predicted.flatten(), targets.flatten(), strict=True)
            if t in (0, 1, 2)
        ]
        ratios.append(sum(bool(p and t) for p, t in inside) / sum(bool(p or t) for p, t in inside))
    assert accuracy_of(joined(parts)).miou == pytest.approx(sum(ratios) / 3, rel=1e-12)


def test_classes_that_nobody_has_do_not_count():
    targets = torch.zeros(1, 4, 4).long()
    assert accuracy_of(score(one_hot_maps(targets, 9), targets, MAPS)).miou == 1


def test_maps_are_resized_image_by_image(monkeypatch):
    """All of a batch in the targets' size would take many times the memory of the outputs."""
    resized = []
    interpolate = torch.nn.functional.interpolate

    def counted(maps, **how):
        resized.append(len(maps))
        return interpolate(maps, **how)

    monkeypatch.setattr(torch.nn.functional, "interpolate", counted)
    maps = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(5, 8, 8).long()
    found = score(maps, targets, MAPS).counts
    assert resized == [1] * 5
    larger = interpolate(maps, size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(found, score(larger, targets, MAPS).counts)


def test_smaller_maps_are_resized_to_the_targets():
    targets = torch.tensor([0, 1, 2]).repeat_interleave(4).expand(1, 5, 12)
    small = one_hot_maps(targets[:, ::5, ::4], 3)
    assert accuracy_of(score(small, targets, MAPS)).miou == 1


@pytest.mark.parametrize(
    ("outputs", "targets", "kind"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), CLASSES),
        (torch.zeros(2, 3), torch.tensor([0, -1]), CLASSES),
        (torch.zeros(2, 1), torch.tensor([0, 0]), CLASSES),
        (torch.zeros(2, 3, 4, 4), torch.tensor([0, 0]), CLASSES),
        (torch.zeros(2, 3), torch.zeros(2, 4, 4).long(), MAPS),
        (torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 4), MAPS),
    ],
)
def test_targets_that_do_not_fit_are_refused(outputs, targets, kind):
    with pytest.raises(DataError) as caught:
        score(outputs, targets, kind)
    assert caught.value.hint


def test_differences_are_in_units_of_the_reference():
    reference = torch.tensor([[1.0, -3.0], [0.0, 0.0], [2.0, 2.0]])
    other = torch.tensor([[1.5, -3.5], [0.0, 0.0], [2.0, 2.0]])
    assert relative_differences(other, reference).tolist() == [0.25, 0, 0]
    assert same_classes(other, reference).tolist() == [1, 1, 1]
    assert same_classes(other[:, [1, 0]], reference).tolist() == [0, 1, 1]
    assert same_classes(torch.zeros(2, 1), torch.zeros(2, 1)) is None
    maps, changed = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    changed[0, 1, 0, 0] = 1
    assert same_classes(changed, maps).tolist() == [0.75]


def results(both: int, gained: int, lost: int, neither: int) -> tuple[PerImage, PerImage]:
    before = torch.tensor([True] * both + [False] * gained + [True] * lost + [False] * neither)
    after = torch.tensor([True] * both + [True] * gained + [False] * lost + [False] * neither)
    return PerImage(CLASSES, right=before), PerImage(CLASSES, right=after)


def wilson(right: int, total: int) -> tuple[float, float]:
    """The shares that a score test does not reject, by bisection."""

    def rejected(share: float) -> bool:
        return abs(right / total - share) > 1.959963984540054 * math.sqrt(
            share * (1 - share) / total
        )

    ends = []
    for outer in (0.0, 1.0):
        inside, outside = right / total, outer
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
        ends.append(inside)
    return ends[0], ends[1]


@pytest.mark.parametrize(
    "counts", [(36, 12, 2, 0), (20, 12, 2, 16), (18, 14, 0, 18), (3, 20, 9, 4), (1, 97, 1, 1)]
)
def test_the_interval_is_newcombes_tenth(counts):
    e, f, g, h = counts
    n = sum(counts)
    (low1, high1), (low2, high2) = wilson(e + f, n), wilson(e + g, n)
    after, before = (e + f) / n, (e + g) / n
    covariance = e * h - f * g
    corrected = covariance - n / 2 if covariance > n / 2 else min(covariance, 0)
    margins = (e + f) * (g + h) * (e + g) * (f + h)
    phi = corrected / math.sqrt(margins)
    below, above = (after - low1, high2 - before), (high1 - after, before - low2)
    ends = [math.sqrt(a * a - 2 * phi * a * b + b * b) for a, b in (below, above)]
    found = paired(*results(*counts))
    expected = (after - before - ends[0], after - before + ends[1])
    assert (found.lower, found.upper) == pytest.approx(expected, abs=1e-9)
    assert found.mean == pytest.approx((f - g) / n)
    if counts == (36, 12, 2, 0):  # an example of the publication
        assert (found.lower, found.upper) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_the_interval_holds_in_19_of_20_samples():
    """Two networks that differ by 2 points, on 300 images, 2,000 times."""
    random = np.random.default_rng(0)
    draws = random.multinomial(300, [0.84, 0.05, 0.03, 0.08], size=2000)
    found = [paired(*results(*map(int, draw))) for draw in draws]
    inside = np.mean([interval.lower <= 0.02 <= interval.upper for interval in found])
    assert 0.94 < inside < 0.985


def test_networks_that_agree_differ_by_nothing_within_a_narrow_interval():
    found = paired(*results(260, 0, 0, 40))
    assert found.mean == 0
    assert found.lower == pytest.approx(-found.upper)
    assert 0 < found.upper < 0.02
    (all_right, same) = results(300, 0, 0, 0)
    assert paired(all_right, same).upper < 0.02


def test_more_confidence_is_a_wider_interval_around_the_same_mean():
    narrow, wide = (paired(*results(90, 4, 8, 20), confidence=c) for c in (0.5, 0.99))
    assert wide.lower < narrow.lower < narrow.mean == wide.mean < narrow.upper < wide.upper


def test_the_bootstrap_of_maps_is_repeatable_and_covers_what_was_found():
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, 3, (40, 6, 6), generator=generator)
    wrong = torch.rand(targets.shape, generator=generator)
    before, after = (
        score(one_hot_maps(torch.where(wrong < rate, (targets + 1) % 3, targets), 3), targets, MAPS)
        for rate in (0.1, 0.2)
    )
    found = paired(before, after)
    expected = accuracy_of(after).miou - accuracy_of(before).miou
    assert found.mean == pytest.approx(expected, rel=1e-12)
    assert found.lower < found.mean < found.upper < 0
    assert found == paired(before, after)
    same = paired(before, before)
    assert (same.mean, same.lower, same.upper) == (0, 0, 0)


def test_results_of_other_images_are_not_paired():
    before, after = results(3, 1, 1, 3)
    with pytest.raises(ArgumentError, match="same images"):
        paired(before, PerImage(CLASSES, right=after.right[:2]))
    nothing = score(torch.zeros(2, 3), None, NONE)
    assert paired(nothing, nothing) is None
    assert not math.isnan(len(nothing))
