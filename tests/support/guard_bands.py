"""Guard bands around tensors, and outputs that must be written."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import Tensor

BAND = 64  # entries on either side


@dataclass
class GuardedMemory:
    """All tensors made in the context, with the memory around them."""

    whole: list[Tensor] = field(default_factory=list)

    def make(self, size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor of NaN (or a large negative integer) between two bands of the same."""
        count = math.prod(size)
        filling = math.nan if dtype.is_floating_point else -(2**40)
        memory = _FULL((count + 2 * BAND,), filling, dtype=dtype, device=device)
        self.whole.append(memory)
        return memory[BAND : BAND + count].view(size)

    def around(self, values: Tensor) -> Tensor:
        """A copy of a dense tensor, with its layout, between two bands."""
        order = sorted(range(values.dim()), key=values.stride, reverse=True)
        flat = values.permute(order)
        inner = self.make(tuple(flat.shape), values.dtype, values.device)
        inner.copy_(flat)
        return inner.permute([order.index(axis) for axis in range(values.dim())])

    def assert_untouched(self) -> None:
        """The bands are unchanged."""
        for memory in self.whole:
            for band in (memory[:BAND], memory[-BAND:]):
                kept = band.isnan() if band.is_floating_point() else band == -(2**40)
                assert bool(kept.all())


_FULL = torch.full


@contextlib.contextmanager
def guarded_memory() -> Iterator[GuardedMemory]:
    """In this context, ``torch.empty``, ``empty_like`` and ``new_empty`` make guarded tensors."""
    guard = GuardedMemory()

    def empty(*size, dtype=torch.float32, device="cpu", **_):
        size = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return guard.make(tuple(size), dtype, torch.device(device))

    def empty_like(values, **_):
        return guard.around(values.detach()).fill_(math.nan if values.is_floating_point() else 0)

    def new_empty(values, *size, dtype=None, device=None):
        size = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return guard.make(tuple(size), dtype or values.dtype, device or values.device)

    with (
        mock.patch.object(torch, "empty", empty),
        mock.patch.object(torch, "empty_like", empty_like),
        mock.patch.object(torch.Tensor, "new_empty", new_empty),
    ):
        yield guard
