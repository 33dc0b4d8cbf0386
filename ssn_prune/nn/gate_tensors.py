"""Gates of SSN layers as tensors: how they follow from logits, and what frozen ones keep."""

from __future__ import annotations

import torch
from torch import Tensor

from ssn_prune.nn.reference_gate import GateDefinition
from ssn_prune.nn.reference_sparsestmax import reference_sparsestmax
from ssn_prune.nn.sparsestmax import sparsestmax


def is_one_hot(ratios: Tensor) -> bool:
    """Whether a vector has exactly one 1 and is otherwise 0."""
    return bool((ratios.max() == 1) and (ratios != 0).sum() == 1)


def solve_gates(
    logits: Tensor, radius: Tensor, definition: GateDefinition, *, float64: bool = False
) -> Tensor:
    """The gates of logits (..., K) by one of the definitions; ``radius`` is (...) or (1,)."""
    ratios = sparsestmax(logits, radius)
    if definition == "paper":
        return ratios
    # The reference's values with the paper's gradient: the second term is 0.
    values = reference_sparsestmax(logits, radius.unsqueeze(-1), float64=float64)
    return values + (ratios - ratios.detach())


def held_ratios(logits: Tensor, frozen_ratios: Tensor) -> Tensor:
    """The ratios of frozen gates, whose stored weights an optimizer may have changed.

    One-hot weights are kept, and so are those of gates that were flagged by hand, whose ratios
    nothing recorded.
    """
    logits = logits.detach()
    one_hot = (logits.amax(-1, keepdim=True) == 1) & ((logits != 0).sum(-1, keepdim=True) == 1)
    known = frozen_ratios.any(dim=-1, keepdim=True)
    return torch.where(known & ~one_hot, frozen_ratios, logits)
