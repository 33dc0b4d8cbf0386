"""A trial launch, which shows whether kernels can be launched at all."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _write(out):
    tl.store(out, 1.0)


def launch_trial(device: torch.device) -> None:
    """Compile and launch a kernel on a device; nothing waits for it."""
    out = torch.zeros(1, device=device)
    with torch.cuda.device_of(out):
        _write[(1,)](out)
