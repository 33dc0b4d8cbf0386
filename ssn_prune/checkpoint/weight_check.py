"""Refuses numbers that no trained network holds, by key, before the network computes with them.

Infinity is allowed in buffers, because masks are made of it. NaN is allowed nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ssn_prune.errors import CheckpointError
from ssn_prune.text import listed

_STATISTICS = ("running_mean", "running_var")
_SHOWN = 5


def require_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN.

    Args:
        tensors: Tensors by key.

    Raises:
        CheckpointError: Some entries are NaN.
    """
    _refuse("NaN", tensors, torch.isnan)


def require_usable(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuse integers and infinity as parameters or statistics of a network of real numbers.

    Args:
        model: The network; not changed.
        tensors: Weights with the network's keys.

    Raises:
        CheckpointError: Some weights are integers or infinite.
    """
    parameters: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    for key, buffer in model.named_buffers(remove_duplicate=False):
        if key.rpartition(".")[2] in _STATISTICS:
            parameters[key] = buffer
    weights = {
        key: tensors[key]
        for key, own in parameters.items()
        if key in tensors and own.is_floating_point()
    }
    integers = {key: t for key, t in weights.items() if not t.is_floating_point()}
    if integers:
        key, tensor = next(iter(integers.items()))
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{len(integers)} weights are integers: {listed(list(integers), _SHOWN)}",
            expected="real numbers, as the network has them",
            found=f"{key} of the dtype {kind}",
            hint="save the state dict of the float network, before it is quantized",
        )
    _refuse("infinite", weights, torch.isinf)


def _refuse(what: str, tensors: Mapping[str, Tensor], test: Callable[[Tensor], Tensor]) -> None:
    counts: dict[str, int] = {}
    seen: dict[tuple[object, ...], int] = {}
    for key, value in tensors.items():
        view = value.data_ptr(), value.dtype, value.shape, value.stride()
        if value.is_floating_point() and value.numel() and view not in seen:
            # Every NaN and infinity makes the sum not finite, and a sum needs no memory.
            sound = math.isfinite(float(value.sum()))
            seen[view] = 0 if sound else int(test(value).sum())
        if seen.get(view):
            counts[key] = seen[view]
    if counts:
        key = next(iter(counts))
        raise CheckpointError(
            f"{len(counts)} tensors hold {'NaN' if what == 'NaN' else 'infinity'}: "
            f"{listed(list(counts), _SHOWN)}",
            expected="finite weights and statistics",
            found=f"{counts[key]} of {tensors[key].numel()} entries of {key} are {what}",
            hint="the training diverged: take an earlier checkpoint",
        )
