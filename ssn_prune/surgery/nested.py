"""Comparing the outputs of two networks, whatever their structure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree


def tensor_leaves(value: Any) -> list[Tensor]:
    """All tensors in a nested output, in a fixed order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def to_dtype(inputs: Any, dtype: torch.dtype) -> Any:
    """Copy a nested input with its floating tensors in ``dtype``.

    Always a copy: a network may work on its inputs in place.
    """

    def cast(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.to(dtype, copy=True) if leaf.is_floating_point() else leaf.clone()

    return pytree.tree_map(cast, inputs)


_WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}
_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
_WRITING = {"__setitem__", "__set__", *(f"__i{name}__" for name in _OPERATORS)}
_ASKING = {"__get__", "untyped_storage", "data_ptr", "size", "stride", "dim", "numel"}
_WRITING |= {f"__i{name}__" for name in ("and", "or", "xor", "lshift", "rshift")}


class WideArithmetic(TorchFunctionMode):
    """While active, torch computes in float64, whatever precision its tensors are kept in.

    A network may keep kernels in float32 here: they are widened one operator at a time, so that
    never more than one of them takes twice its memory. It may also make float32 tensors itself
    (``arange(...).float()``, such as the grids of RAFT): those become float64 ones.

    Args:
        computed: Tensors that stand for something else, by ``id``: what to take in their place.
    """

    def __init__(self, computed: Mapping[int, Computed] | None = None) -> None:
        super().__init__()
        self._computed = computed or {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func`` on wide tensors and widen its result."""
        del types
        name = getattr(func, "__name__", "")
        kwargs = kwargs or {}
        if name in _ASKING:  # most have nothing to do with the values
            result = func(*args, **kwargs)
            if not isinstance(result, Tensor):
                return self._widened(result)
            if id(args[0]) in self._computed:
                result = func(self._widened(args[0]))
            return self._widened(result)
        if func is Tensor.float:
            func = Tensor.double
        in_place = name in _WRITING or re.fullmatch(r"\w*[^_]_", name) is not None
        kept = args[:1] if in_place else ()  # to be written to, as it is
        if any(id(target) in self._computed for target in kept):
            raise RuntimeError("a folded kernel is written to: it needs memory of its own")
        rest, named = pytree.tree_map(self._widened, (args[len(kept) :], kwargs))
        if "out" in named:
            named["out"] = kwargs["out"]
        result = func(*kept, *rest, **named)
        return result if kept else self._widened(result)

    def _widened(self, leaf: Any) -> Any:
        if isinstance(leaf, torch.dtype):
            return _WIDE.get(leaf, leaf)
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in self._computed:
            return self._computed[id(leaf)].value()
        return leaf.to(_WIDE[leaf.dtype]) if leaf.dtype in _WIDE else leaf


@dataclass(frozen=True)
class Computed:
    """A float64 tensor that is made anew at each use.

    Attributes:
        placeholder: The tensor that stands for it, which lives as long as this does.
        value: Makes it.
    """

    placeholder: Tensor
    value: Callable[[], Tensor]


def clone_tensors(inputs: Any) -> Any:
    """Copy a nested input."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)


def max_error(value: Tensor, expected: Tensor) -> tuple[float, float]:
    """Largest absolute difference and largest absolute expected value.

    The difference is inf if shapes differ or anything is not finite, so that no bound accepts it.
    """
    if value.shape != expected.shape:
        return float("inf"), 0.0
    if value.numel() == 0:
        return 0.0, 0.0
    wide = expected.double()
    scale = float(wide.abs().max())
    error = float((value.double() - wide).abs().max())  # not finite if anything is not
    return error if math.isfinite(error) and math.isfinite(scale) else float("inf"), scale


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


def top1_agreement(value: Tensor, expected: Tensor, undecided: float = 0.0) -> float | None:
    """Share of positions whose largest class (axis 1) is the same.

    Args:
        value: Shape (N, classes, ...).
        expected: The reference.
        undecided: Positions whose two largest reference values are not further apart than this are
            left out: within the allowed error either answer is right.

    Returns:
        A share in [0, 1]; None if there is no class axis or no position is decided.
    """
    if expected.dim() < 2 or expected.shape[1] < 2 or not expected.is_floating_point():
        return None
    top2 = expected.topk(2, dim=1).values
    decided = (top2.select(1, 0) - top2.select(1, 1)) > undecided
    if not bool(decided.any()):
        return None
    same = value.argmax(dim=1) == expected.argmax(dim=1)
    return float(same[decided].double().mean())
