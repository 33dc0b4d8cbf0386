"""Mixtures of statistics at inference, and what a layer computes from its input."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ssn_prune.nn.axes import in_dtype_of


class Measured(NamedTuple):
    """What was computed from an input.

    Attributes:
        centred: The input minus the mean that ``point`` names.
        point: Which mean was subtracted, as ratios.
        var: The mixed variance, without a factor that ``eps`` and ``shrink`` make up for.
        eps: What to add to the variance.
        shrink: What to multiply the weight by.
    """

    centred: Tensor
    point: tuple[float, float, float]
    var: Tensor
    eps: float
    shrink: float = 1.0


def as_computed(value: Tensor | None, x: Tensor) -> Tensor | None:
    """A tensor of the layer in the precision of the computation."""
    return None if value is None else in_dtype_of(x, value)


def weighted_sum(terms: list[tuple[float, Tensor]]) -> Tensor:
    """Sum of ratio times statistic over the non-zero ratios; a ratio of 1 costs no operation."""
    used = [value if ratio == 1.0 else ratio * value for ratio, value in terms if ratio]
    total = used[0]
    for value in used[1:]:
        total = total + value
    return total
