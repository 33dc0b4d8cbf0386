"""What the original network gives, in float64 and in float32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.layers.copying import cast_copy
from ssn_prune.layers.running import WriteGuard, run_copy
from ssn_prune.tensors import WideArithmetic, tensor_leaves, to_dtype
from ssn_prune.verification.taps import Recording, run_with_taps

Outputs = list[list[Tensor]]
"""For each batch one tensor per output."""


@dataclass(frozen=True)
class ExactAnswers:
    """In float64.

    Attributes:
        outputs: Of every batch.
        layers: For one batch, by name in execution order, the outputs of every call of a layer.
    """

    outputs: Outputs
    layers: dict[str, list[Tensor]]


def exact_answers(
    original: nn.Module,
    wide: nn.Module,
    batches: Sequence[tuple[Any, ...]],
    layers: Iterable[str] = (),
    seen: int = 0,
) -> ExactAnswers:
    """Run a network in float64.

    Args:
        original: The network; not changed.
        wide: A copy of it for ``WideArithmetic``.
        batches: Inputs of several calls.
        layers: Modules to look at in one of them.
        seen: The index of that one.

    Raises:
        SharedWriteError: The network writes to parameters that the copy shares with it.
    """
    recording = Recording()
    # That one first: a network that keeps a state is then in its first.
    order = sorted(range(len(batches)), key=lambda index: index != seen)
    outputs: dict[int, list[Tensor]] = {}
    with torch.no_grad(), WriteGuard(original), WideArithmetic():
        for index in order:
            names = layers if index == seen else ()
            given = to_dtype(batches[index], torch.float64)
            outputs[index] = run_with_taps(wide, given, names, recording)
    return ExactAnswers([outputs[index] for index in range(len(batches))], recording.values)


def own_answers(original: nn.Module, batches: Sequence[tuple[Any, ...]]) -> Outputs:
    """Run a network (not changed) in float32."""

    def run(copied: nn.Module) -> Outputs:
        single = cast_copy(copied, torch.float32)
        with torch.no_grad():
            return [tensor_leaves(single(*to_dtype(batch, torch.float32))) for batch in batches]

    return run_copy(original, run)
