"""Comparing the outputs of two networks, whatever their structure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def named_leaves(value: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """All leaves of a nested output, with the keys that lead to them, in a fixed order.

    Dataclasses count as nested.
    """
    leaves: list[tuple[tuple[Any, ...], Any]] = []
    for path, leaf in pytree.tree_flatten_with_path(value)[0]:
        if is_dataclass(leaf) and not isinstance(leaf, type):
            held = {field.name: getattr(leaf, field.name) for field in fields(leaf)}
            leaves += [((*path, *inner), part) for inner, part in named_leaves(held)]
        else:
            leaves.append((path, leaf))
    return leaves


def tensor_leaves(value: Any) -> list[Tensor]:
    """All tensors in a nested output, in a fixed order; dataclasses count as nested."""
    return [leaf for _, leaf in named_leaves(value) if isinstance(leaf, Tensor)]


def to_dtype(inputs: Any, dtype: torch.dtype) -> Any:
    """Copy a nested input with its floating tensors in ``dtype``.

    It is always a copy, since a network may change its inputs in place.
    """

    def cast(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.to(dtype, copy=True) if leaf.is_floating_point() else leaf.clone()

    return pytree.tree_map(cast, inputs)


def clone_tensors(inputs: Any) -> Any:
    """Copy a nested input."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)


def max_error(value: Tensor, expected: Tensor) -> tuple[float, float]:
    """Largest absolute difference and largest finite absolute expected value.

    Equal infinities count as equal. The difference is inf if shapes differ, if a value is NaN, or
    if one is infinite and the other is not the same infinity, so that no bound accepts it.
    """
    if value.shape != expected.shape:
        return float("inf"), 0.0
    if value.numel() == 0:
        return 0.0, 0.0
    wide, given = expected.double(), value.double()
    scale = float(wide.abs().max())
    error = float((given - wide).abs().max())  # not finite if anything is not
    if math.isfinite(error) and math.isfinite(scale):
        return error, scale
    difference = (given - wide).abs().masked_fill_(given == wide, 0.0)
    error = float(difference.max())
    scale = float(wide.abs().masked_fill_(~wide.isfinite(), 0.0).max())
    return error if math.isfinite(error) else float("inf"), scale


def relative_error(values: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """The worst error over several tensors, each in units of its own largest expected value."""
    if len(values) != len(reference):
        return float("inf")
    worst = 0.0
    for value, expected in zip(values, reference, strict=True):
        error, scale = max_error(value, expected)
        if error > 0:
            worst = max(worst, error / scale if 0 < scale < math.inf else math.inf)
    return worst


def undefined_entries(values: Sequence[Tensor]) -> str | None:
    """Where the first NaN is, such as ``"output 0, 3 of 40 entries"``; None if there is none."""
    for index, value in enumerate(values):
        if count := int(value.isnan().sum()):
            return f"output {index}, {count} of {value.numel()} entries"
    return None


def top1_agreement(value: Tensor, expected: Tensor, margin: float = 0.0) -> float | None:
    """Share of positions whose largest class (axis 1) is the same.

    Args:
        value: Shape (N, classes, ...).
        expected: The reference.
        margin: Positions whose two largest reference values differ by at most this are left out:
            within the allowed error either class is right.

    Returns:
        A share in [0, 1]; None if there is no class axis or no position is left.
    """
    if expected.dim() < 2 or expected.shape[1] < 2 or not expected.is_floating_point():
        return None
    top2 = expected.topk(2, dim=1).values
    clear = (top2.select(1, 0) - top2.select(1, 1)) > margin
    if not bool(clear.any()):
        return None
    same = value.to(expected.dtype).argmax(dim=1) == expected.argmax(dim=1)
    return float(same[clear].double().mean())
