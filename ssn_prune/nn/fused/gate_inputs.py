"""What the kernels need to know of the gates of a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class GateInputs:
    """Both gates of a layer.

    Attributes:
        kind: What makes ratios of the logits; ``"given"`` where they are ratios.
        mean: Logits of the mean gate, (K,).
        var: Logits of the variance gate, (K,).
        ratios: The same in operators that can be differentiated: logits (K,) to ratios (K,).
        radius: SparsestMax's, (1,); None for other kinds, as the next three.
        mean_fixed: Whether the mean gate is frozen, (1,).
        var_fixed: Whether the variance gate is frozen, (1,).
        frozen_ratios: Rows of gates that are frozen, (2, K).
    """

    kind: Literal["sparsestmax", "softmax", "given"]
    mean: Tensor
    var: Tensor
    ratios: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    radius: Tensor | None = None
    mean_fixed: Tensor | None = None
    var_fixed: Tensor | None = None
    frozen_ratios: Tensor | None = None
