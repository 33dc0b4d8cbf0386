"""Float64 passes on twins: every sample a second time, with noise in its last digits.

How far the twins are apart after a layer, against how far they were before it, says whether
results there can be compared at all: some networks with random selections blow up the last bit of
a number until nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sweep_models import Inputs
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

NUDGE = 1e-12


def twinned(inputs: Inputs, batch: tuple[Any, ...], generator: torch.Generator) -> tuple[Any, ...]:
    """A batch in float64 followed by its twins.

    Without twins where samples do not stay apart: pairs of images are put into one batch, and which
    boxes a detector keeps may flip with the last bit.
    """
    wide = pytree.tree_map(lambda t: t.double() if isinstance(t, Tensor) else t, batch)
    if not has_twins(inputs):
        return wide

    twice = pytree.tree_map(lambda leaf: torch.cat((leaf, leaf)), wide)
    return pytree.tree_map(lambda leaf: nudged(leaf, generator), twice)


def nudged(x: Tensor, generator: torch.Generator) -> Tensor:
    """With noise in the last digits of the twins, also where samples are constant."""
    samples, twins = x.chunk(2)
    noise = torch.randn(twins.shape, generator=generator, dtype=x.dtype)
    return torch.cat((samples, twins * (1 + NUDGE * noise)))


def has_twins(inputs: Inputs) -> bool:
    return inputs.kind in ("images", "clips")


def first_half(x: Tensor) -> Tensor:
    return x[: len(x) // 2]


def distance(x: Tensor) -> float:
    """Between the twins, in units of the nudge and of the largest value."""
    if len(x) % 2:
        return 0.0
    samples, twins = x.chunk(2)
    scale = float(samples.abs().max())
    return float((samples - twins).abs().max()) / (scale * NUDGE) if scale > 0 else 0.0


def floating_outputs(network: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Run a float64 network."""
    with torch.no_grad(), _Wide():
        outputs = network(*inputs)
    leaves = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.is_floating_point() and leaf.numel() > 1]


class _Wide(TorchFunctionMode):
    """Networks that make float32 tensors themselves, such as RAFT's grid, make float64 ones."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        narrow = isinstance(result, Tensor) and result.dtype == torch.float32
        return result.double() if narrow else result


@contextmanager
def removing(handles: list[Any]) -> Iterator[None]:
    """Remove hooks afterwards."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
