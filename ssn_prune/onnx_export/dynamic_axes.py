"""Dynamic spatial sizes: which other sizes a network accepts, and why it accepts none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssn_prune.errors import ExportError
from ssn_prune.pruning.capture.dynamic_shapes import arguments_by_name
from ssn_prune.pruning.capture.size_conditions import SizeGuard, size_guards

# Added to the last axes: multiples of the usual strides, and odd numbers where code rounds sizes.
_GROWTH = ((0, 0, 32), (0, 32, 0), (0, 32, 64), (0, 7, 0), (0, 5, 13), (4, 0, 0), (0, 64, 64))


def other_sizes(inputs: tuple[Any, ...]) -> Iterable[tuple[Any, ...]]:
    """Inputs like the given ones, but of other spatial sizes and filled with zeros."""
    for growth in _GROWTH:

        def grown(leaf: Any, growth: tuple[int, ...] = growth) -> Any:
            if not isinstance(leaf, Tensor) or leaf.dim() < 3:
                return leaf
            more = growth[2 - leaf.dim() :]
            sizes = [size + extra for size, extra in zip(leaf.shape[2:], more, strict=True)]
            return leaf.new_zeros(*leaf.shape[:2], *sizes)

        changed = pytree.tree_map(grown, inputs)
        pairs = zip(pytree.tree_leaves(changed), pytree.tree_leaves(inputs), strict=True)
        if any(isinstance(new, Tensor) and new.shape != old.shape for new, old in pairs):
            yield changed


def accepted_sizes(
    model: nn.Module, inputs: tuple[Any, ...], guards: Iterable[SizeGuard]
) -> list[tuple[Any, ...]]:
    """The inputs from :func:`other_sizes` that meet all conditions of a capture.

    There are none if the conditions fix the width or the height: a file with open sizes would give
    the outputs of the fixed one.
    """
    known = list(guards)
    accepted = [
        other
        for other in other_sizes(inputs)
        if all(guard.holds(arguments_by_name(model, other, {})) for guard in known)
    ]
    return accepted if _vary(inputs, accepted) else []


def _vary(inputs: tuple[Any, ...], others: Sequence[tuple[Any, ...]]) -> bool:
    """Whether each of the last two spatial axes of each input has another size somewhere."""
    leaves = [pytree.tree_leaves(other) for other in others]
    return all(
        any(other[index].shape[axis] != leaf.shape[axis] for other in leaves)
        for index, leaf in enumerate(pytree.tree_leaves(inputs))
        if isinstance(leaf, Tensor)
        for axis in range(max(2, leaf.dim() - 2), leaf.dim())
    )


def require_dynamic_sizes(
    program: torch.export.ExportedProgram, model: nn.Module, inputs: tuple[Any, ...]
) -> None:
    """Refuse a network that fixes its spatial size.

    Raises:
        ExportError: The network accepts no other size; the error names the conditions.
    """
    guards = size_guards(program, model, inputs)
    if not accepted_sizes(model, inputs, guards):
        raise fixed_size_error(guards)


def fixed_size_error(guards: Iterable[SizeGuard]) -> ExportError:
    """The error for a network that fixes a spatial size; equations are named first."""
    conditions = sorted((guard.readable for guard in guards), key=lambda text: "==" not in text)
    return ExportError(
        "the network fixes its spatial size, so it cannot be exported with dynamic ones",
        expected="a network that takes several spatial sizes, such as one with adaptive pooling",
        found=f"code that needs {'; '.join(conditions[:3]) or 'inputs with spatial axes'}"
        + (f" and {len(conditions) - 3} more conditions" if len(conditions) > 3 else ""),
        hint='pass `dynamic="batch"` and convert once per size',
    )
