"""Harms against the definition, for classes, maps and outputs without labels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssn_prune.errors import ArgumentError
from ssn_prune.searching.divergence import Divergence
from ssn_prune.searching.evaluation import WORST, Harm


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


def test_outputs_that_are_no_scores_are_refused_where_there_are_labels() -> None:
    with pytest.raises(ArgumentError, match="not class scores"):
        Divergence(classes=True).reference(torch.zeros(4, 1))
