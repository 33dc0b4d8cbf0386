"""Harms against the definition, for classes, maps and outputs without labels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssn_prune.accuracy.per_image import PerImage
from ssn_prune.errors import ArgumentError
from ssn_prune.images.image_set import TargetKind
from ssn_prune.searching.divergence import Divergence
from ssn_prune.searching.evaluation import WORST, Harm, Outcome
from ssn_prune.searching.joint import joint_result


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5), st.sampled_from([(), (3,), (2, 3)]))
def test_the_divergence_of_classes_is_that_of_their_probabilities(
    seed: int, classes: int, positions: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    before, after = 3 * torch.randn(2, 4, classes, *positions, generator=generator)
    divergence = Divergence(classes=True)
    found = divergence.harms(divergence.reference(before), after)
    assert found.shape == (4,)
    for image in range(4):
        p, q = (t[image].double().softmax(0).reshape(classes, -1) for t in (before, after))
        each = [
            sum(float(p[k, i]) * math.log(float(p[k, i] / q[k, i])) for k in range(classes))
            for i in range(p.shape[1])
        ]
        assert float(found[image]) == pytest.approx(sum(each) / len(each), rel=1e-6, abs=1e-12)


def test_the_same_outputs_do_no_harm_however_sure_they_are() -> None:
    outputs = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]])
    divergence = Divergence(classes=True)
    reference = divergence.reference(outputs)
    assert divergence.harms(reference, outputs.clone()).tolist() == [0, 0]
    lost = divergence.expected_drops(reference, outputs)
    assert lost is not None
    assert lost.tolist() == [0, 0]


def test_the_expected_drop_is_the_probability_that_is_given_up() -> None:
    before = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]]).log()
    after = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    divergence = Divergence(classes=True)
    lost = divergence.expected_drops(divergence.reference(before), after)
    assert lost is not None
    torch.testing.assert_close(
        lost, torch.tensor([0.5, 0.05], dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_outputs_that_are_not_numbers_are_no_small_harm() -> None:
    divergence = Divergence(classes=True)
    found = divergence.harms(divergence.reference(torch.zeros(2, 3)), torch.full((2, 3), math.nan))
    assert found.isnan().all()
    assert Harm.of(found) == Harm(WORST, 0.0)


def test_without_labels_the_worst_output_counts() -> None:
    before = {"a": torch.ones(2, 3), "b": torch.full((2, 2), 2.0), "n": torch.zeros(2).long()}
    after = {"a": torch.full((2, 3), 1.1), "b": torch.full((2, 2), 3.0), "n": torch.ones(2).long()}
    divergence = Divergence(classes=False)
    reference = divergence.reference(before)
    assert divergence.harms(reference, after).tolist() == pytest.approx([0.5, 0.5])
    assert divergence.expected_drops(reference, after) is None


def test_other_outputs_count_where_there_are_labels() -> None:
    """Their squared relative change is added to the divergence of the classes."""
    generator = torch.Generator().manual_seed(0)
    scores, others = torch.randn(2, 5, 3, generator=generator)
    before = {"ids": torch.arange(5), "scores": scores, "depth": torch.ones(5, 1, 4, 4)}
    after = {**before, "scores": others, "depth": torch.full((5, 1, 4, 4), 1.5)}
    divergence = Divergence(classes=True)
    reference = divergence.reference(before)
    alone = divergence.harms(divergence.reference(scores), others)
    torch.testing.assert_close(divergence.harms(reference, after), alone + 0.25, rtol=1e-12, atol=0)
    destroyed = {**before, "depth": torch.zeros(5, 1, 4, 4)}
    assert divergence.harms(reference, destroyed).tolist() == [1] * 5
    changed = divergence.other_changes(reference, destroyed)
    assert changed is not None
    assert changed.tolist() == [1] * 5
    assert divergence.harms(reference, before).tolist() == [0] * 5
    broken = {**before, "depth": torch.full((5, 1, 4, 4), math.nan)}
    assert Harm.of(divergence.harms(reference, broken)) == Harm(WORST, 0.0)
    assert divergence.other_changes(divergence.reference(scores), others) is None


@pytest.mark.parametrize("classes", [True, False])
def test_outputs_may_have_any_shape(classes: bool) -> None:
    """A number for each image, one for all, nothing, and another number of detections."""
    first = torch.ones(3, 2)
    before = (first, torch.ones(3), torch.tensor(2.0), torch.ones(0, 4), torch.ones(7, 4))
    divergence = Divergence(classes)
    reference = divergence.reference(before)
    power = 2 if classes else 1
    assert divergence.harms(reference, before).tolist() == [0, 0, 0]
    after = (first, torch.tensor([1.0, 1.5, 3.0]), *before[2:])
    expected = [0, 0.5**power, 2**power]
    assert divergence.harms(reference, after).tolist() == pytest.approx(expected)
    after = (first, before[1], torch.tensor(3.0), *before[3:])
    assert divergence.harms(reference, after).tolist() == pytest.approx([0.5**power] * 3)
    after = (*before[:4], torch.ones(6, 4))
    assert divergence.harms(reference, after).isinf().all()


def test_classes_that_the_original_excludes_do_no_harm() -> None:
    scores = torch.tensor([[0.0, 1.0, -math.inf], [2.0, -math.inf, 0.0]])
    divergence = Divergence(classes=True)
    reference = divergence.reference(scores)
    assert divergence.harms(reference, scores.clone()).tolist() == [0, 0]
    assert divergence.harms(reference, torch.zeros(2, 3)).isfinite().all()
    assert divergence.harms(reference, -scores).isfinite().logical_not().all()


def test_a_drop_is_no_smaller_than_the_change_of_other_outputs() -> None:
    right = PerImage(TargetKind.CLASSES, *torch.ones(2, 4).bool())
    original = Outcome(Harm(0.0, 0.0), 0.0, right, Harm(0.0, 0.0))
    assert joint_result(original, original).drop == 0
    assert joint_result(replace(original, others=Harm(0.3, 0.01)), original).drop == 30
    assert joint_result(replace(original, expected_drop=0.4), original).drop == 40


def test_the_share_of_the_same_class_is_that_of_the_pixels_of_maps() -> None:
    before = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]] * 2)[:, :, None]  # (2, classes, 1, 2)
    after = before.clone()
    after[0, :, 0, 0] = after[0, :, 0, 0].flip(0)
    divergence = Divergence(classes=True)
    same = divergence.same_classes(divergence.reference(before), after)
    assert same is not None
    assert same.tolist() == [0.5, 1.0]
    plain = Divergence(classes=False)
    assert plain.same_classes(plain.reference(before), after) is None


def test_outputs_that_are_no_scores_are_refused_where_there_are_labels() -> None:
    with pytest.raises(ArgumentError, match="not class scores"):
        Divergence(classes=True).reference(torch.zeros(4, 1))
    for classes in (True, False):
        with pytest.raises(ArgumentError, match="no floating-point outputs"):
            Divergence(classes).reference(torch.zeros(4, 2).long())
