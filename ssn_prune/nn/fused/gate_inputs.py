"""What the kernels need to know about the gates of a layer."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from torch import Tensor


class GateKind(enum.Enum):
    """What turns the logits into ratios; GIVEN where they are ratios already."""

    SPARSESTMAX = "sparsestmax"
    SOFTMAX = "softmax"
    GIVEN = "given"


@dataclass(frozen=True)
class GateInputs:
    """Both gates of a layer.

    Attributes:
        kind: The kind of both.
        mean: Logits of the mean gate, (K,).
        var: Logits of the variance gate, (K,).
        radius: SparsestMax's radius, (1,); None for other kinds, as are the next three.
        mean_fixed: Whether the mean gate is frozen, (1,).
        var_fixed: Whether the variance gate is frozen, (1,).
        frozen_ratios: The ratios of frozen gates, one row per gate, (2, K).
    """

    kind: GateKind
    mean: Tensor
    var: Tensor
    radius: Tensor | None = None
    mean_fixed: Tensor | None = None
    var_fixed: Tensor | None = None
    frozen_ratios: Tensor | None = None

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them."""
        return (
            self.mean,
            self.var,
            self.radius,
            self.mean_fixed,
            self.var_fixed,
            self.frozen_ratios,
        )
