"""The result of a measured candidate, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.accuracy.metrics import accuracy_of
from ssn_prune.accuracy.paired import paired
from ssn_prune.accuracy.results import Accuracy, PairedDifference
from ssn_prune.searching.evaluation import Outcome


@dataclass(frozen=True)
class JointResult:
    """The result of several changes together, on the search images.

    Attributes:
        harm: Divergence from the original.
        error: Standard error of the harm.
        drop: See :class:`ssn_prune.searching.results.FrontPoint`.
        accuracy: Accuracy of the candidate.
        difference: Accuracy of the candidate minus that of the original, with its confidence
            interval; None without labels.
    """

    harm: float
    error: float
    drop: float
    accuracy: Accuracy
    difference: PairedDifference | None


def joint_result(outcome: Outcome, original: Outcome) -> JointResult:
    """Compare a candidate with the original on the same images."""
    accuracy = accuracy_of(outcome.results)
    harm = outcome.harm
    difference = paired(original.results, outcome.results)
    if outcome.expected_drop is None:
        return JointResult(harm.mean, harm.error, 100 * harm.mean, accuracy, difference)
    lost = main_accuracy(accuracy_of(original.results)) - main_accuracy(accuracy)
    others = 0.0 if outcome.others is None else outcome.others.mean
    drop = 100 * max(lost, outcome.expected_drop, others)
    return JointResult(harm.mean, harm.error, drop, accuracy, difference)


def main_accuracy(accuracy: Accuracy) -> float:
    """Top-1 accuracy, or mean intersection over union; 0 without either."""
    value = accuracy.top1 if accuracy.top1 is not None else accuracy.miou
    return 0.0 if value is None else value
