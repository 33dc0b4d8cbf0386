"""Check that a file of pruned weights restores the pruned network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import VerificationError
from ssn_prune.pruned_weights.loading import load_pruned
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.surgery.copying import copy_model
from ssn_prune.surgery.nested import clone_tensors, tensor_leaves


def require_same_network(
    path: Path, pruned: PruneResult, given: nn.Module, inputs: tuple[Any, ...]
) -> None:
    """Load a file and compare the outputs bit by bit.

    Args:
        path: The file.
        pruned: What was saved.
        given: The network that was pruned; the weights are loaded into a copy of it.
        inputs: Inputs of one call.

    Raises:
        VerificationError: The outputs differ.
    """
    again = load_pruned(path, lambda: _without_numbers(given))
    found, expected = (_outputs(model, inputs) for model in (again, pruned.model))
    if len(found) != len(expected) or not all(map(_equal, found, expected)):
        raise VerificationError(
            "the saved weights do not give the pruned network's outputs",
            layer=None,
            expected="the same outputs, bit by bit",
            found="other outputs: something besides parameters and buffers must have changed",
            hint="keep what the network computes with in parameters, buffers and arguments",
        )


def _without_numbers(given: nn.Module) -> nn.Module:
    """A copy filled with NaN, so that any value that is left would show in an output."""
    copy = copy_model(given)
    for tensor in (*copy.parameters(), *copy.buffers()):
        if tensor.is_floating_point():
            tensor.data.fill_(math.nan)
    return copy


def _outputs(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    with torch.no_grad():
        return tensor_leaves(model(*clone_tensors(inputs)))


def _equal(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return bool(((first == second) | (first.isnan() & second.isnan())).all())
