"""Buffers that a training step updates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RunningStatistics:
    """Buffers that a training step updates in place.

    Attributes:
        mean: (C,).
        var: (C,).
        tracked: Batches so far, ().
        momentum: torch's convention; None for the plain average.
    """

    mean: Tensor
    var: Tensor
    tracked: Tensor
    momentum: float | None
