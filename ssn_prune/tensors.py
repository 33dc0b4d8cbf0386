"""Comparing the outputs of two networks, whatever their structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def tensor_leaves(value: Any) -> list[Tensor]:
    """All tensors in a nested output, in a fixed order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def to_dtype(inputs: Any, dtype: torch.dtype) -> Any:
    """Cast the floating tensors of a nested input."""

    def cast(leaf: Any) -> Any:
        floating = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return leaf.to(dtype) if floating else leaf

    return pytree.tree_map(cast, inputs)


def max_error(values: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[float, float]:
    """Largest absolute difference and largest absolute reference value.

    Both are inf or NaN if anything is not finite, so that no comparison with them passes.
    """
    error, scale = 0.0, 0.0
    for value, expected in zip(values, reference, strict=True):
        if value.shape != expected.shape:
            return float("inf"), scale
        if value.numel() == 0:
            continue
        wide = expected.double()
        difference = (value.double() - wide).abs().max()
        finite = bool(torch.isfinite(value).all() and torch.isfinite(expected).all())
        error = max(error, float(difference)) if finite else float("inf")
        scale = max(scale, float(wide.abs().max()))
        if not finite:
            break
    return error, scale


def top1_agreement(
    values: Sequence[Tensor], reference: Sequence[Tensor], undecided: float = 0.0
) -> float | None:
    """Share of positions whose largest class (axis 1 of the first output) is the same.

    Args:
        values: Outputs, the first of shape (N, classes, ...).
        reference: The reference.
        undecided: Positions whose two largest reference values are not further apart than this are
            left out: within the allowed error either answer is right.

    Returns:
        A share in [0, 1]; None if the output has no class axis or no position is decided.
    """
    value, expected = values[0], reference[0]
    if expected.dim() < 2 or expected.shape[1] < 2:
        return None
    top2 = expected.topk(2, dim=1).values
    decided = (top2.select(1, 0) - top2.select(1, 1)) > undecided
    if not bool(decided.any()):
        return None
    same = value.argmax(dim=1) == expected.argmax(dim=1)
    return float(same[decided].double().mean())
