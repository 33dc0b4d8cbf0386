"""A question that a compiler asks while it traces; the answer is a constant to it."""

from __future__ import annotations

import torch

from ssn_prune.nn.fused.devices import runs_on


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def compiles_kernels(device: torch.device) -> bool:
    """Whether the network is compiled, not exported, for a device that has kernels."""
    # Asked outside the trace: inside, torch 2.11 takes every compilation for an export.
    return not torch.compiler.is_exporting() and runs_on(device)
