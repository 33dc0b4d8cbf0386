"""Host time of one layer in training on a GPU, without its kernel launches; needs no GPU.

    python benchmarks/research/host_cost.py

The launches are replaced by no-ops, so that Python and torch's own calls are left: module, autograd
function, allocations. The layer is compared with BatchNorm2d, on an input of 64 values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import nn
from triton.runtime.jit import JITFunction

from ssn_prune import SSN2d


def fastest(run: Callable[[], Any], rounds: int = 60, steps: int = 20) -> float:
    """Microseconds of a call in the fastest round, since other work only makes it slower."""
    for _ in range(steps):
        run()
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(steps):
            run()
        best = min(best, (time.perf_counter() - start) / steps * 1e6)
    return best


def _nothing(*_: Any, **__: Any) -> None:
    """A launch that does nothing."""


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    x = torch.randn(1, 64, 2, 2, requires_grad=True)
    gradient = torch.randn_like(x)
    nothing = mock.patch.object(JITFunction, "__getitem__", return_value=_nothing)
    fused = mock.patch("ssn_prune.nn.plane_norm.runs_fused", return_value=True)
    print("| layer | forward, us | forward and backward, us |\n| --- | --- | --- |")
    with nothing, fused:
        for layer in (nn.BatchNorm2d(64), SSN2d(64)):
            forward = fastest(lambda layer=layer: layer(x))
            both = fastest(lambda layer=layer: layer(x).backward(gradient))
            print(f"| {type(layer).__name__} | {forward:.0f} | {both:.0f} |")


if __name__ == "__main__":
    main()
