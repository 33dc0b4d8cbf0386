"""The running statistics that a training step updates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RunningStatistics:
    """Buffers that a training step updates in place.

    Attributes:
        mean: (C,).
        var: (C,).
        tracked: Number of batches so far, ().
        momentum: torch's convention; None for the plain average.
    """

    mean: Tensor
    var: Tensor
    tracked: Tensor
    momentum: float | None

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All three."""
        return self.mean, self.var, self.tracked

    def mark_changed(self) -> None:
        """Tell autograd of an update that it has not seen, so that saved values are refused."""
        versioned = [value for value in self.tensors() if not value.is_inference()]
        torch.autograd.graph.increment_version(versioned)
