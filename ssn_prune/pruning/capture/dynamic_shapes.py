"""Which sizes of the inputs are dynamic in an export."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree


def arguments_by_name(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call, keyed by the names of ``forward``'s parameters."""
    return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)


def dynamic_axes(tensor: Tensor) -> tuple[int, ...]:
    """Axes of an input whose sizes may vary: all but the channel axis."""
    return tuple(axis for axis in range(tensor.dim()) if axis != 1)


def dynamic_shapes(
    model: nn.Module, inputs: tuple[Any, ...], axes: Callable[[Tensor], dict[int, Any]]
) -> dict[str, Any]:
    """The argument ``dynamic_shapes`` of ``torch.export.export``; it handles ``forward(*inputs)``.

    Args:
        model: What is exported.
        inputs: Inputs of one call.
        axes: The dynamic axes of a tensor.
    """

    def shape(leaf: Any) -> dict[int, Any] | None:
        return axes(leaf) if isinstance(leaf, Tensor) else None

    named = arguments_by_name(model, inputs, {})
    return {name: pytree.tree_map(shape, value) for name, value in named.items()}
