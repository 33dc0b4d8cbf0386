"""What the original network gives, in float64 and in float32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.surgery._shared_parameters import WriteGuard, run_copy
from ssn_prune.surgery.copying import cast_copy
from ssn_prune.surgery.nested import Computed, WideArithmetic, tensor_leaves, to_dtype
from ssn_prune.verification.taps import Tap, run_with_taps

Outputs = list[list[Tensor]]
"""For each batch one tensor per output."""


def run_wide(
    original: nn.Module,
    wide: nn.Module,
    inputs: tuple[Any, ...],
    names: Iterable[str] = (),
    tap: Tap | None = None,
    computed: Mapping[int, Computed] | None = None,
) -> list[Tensor]:
    """Run a network in float64.

    Args:
        original: The network whose memory it may share; not changed.
        wide: The network, made for ``WideArithmetic``.
        inputs: Inputs of one call.
        names: Modules to look at.
        tap: Shown what comes out of them.
        computed: Tensors that stand for something else.

    Returns:
        The output's tensors.

    Raises:
        SharedWriteError: The network writes to parameters of ``original``.
    """
    with WriteGuard(original), WideArithmetic(computed):
        return run_with_taps(wide, to_dtype(inputs, torch.float64), names, tap)


def own_answers(original: nn.Module, batches: Sequence[tuple[Any, ...]]) -> Outputs:
    """Run a network (not changed) in float32."""

    def run(copied: nn.Module) -> Outputs:
        single = cast_copy(copied, torch.float32)
        with torch.no_grad():
            return [tensor_leaves(single(*to_dtype(batch, torch.float32))) for batch in batches]

    return run_copy(original, run)
