"""Refuses gates and running statistics that no sound training ends with, by key."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ssn_prune.checkpoint.stored import StoredTensor
from ssn_prune.errors import CheckpointError

_LEAVES = ("mean_weight", "var_weight", "radius", "running_mean", "running_var")
# E[x^2] - E[x]^2 of a constant channel may be this far below zero; every eps makes up for it.
_ROUNDING = -1e-6
_MAX_ENTRIES = 1 << 20  # of one tensor; no layer has as many channels


def require_sound_statistics(tensors: Mapping[str, StoredTensor]) -> None:
    """Refuse gates and statistics that are not finite, and negative variances.

    Reads these tensors and no others.

    Args:
        tensors: The tensors of an open file, by key.

    Raises:
        CheckpointError: Some are not sound, or the file is damaged.
    """
    problems: list[str] = []
    seen = set()
    for key, tensor in tensors.items():
        leaf = key.rpartition(".")[2]
        if leaf not in _LEAVES or not tensor.is_floating_point():
            continue
        view = id(tensor.storage), tensor.dtype, tensor.offset, tensor.shape, tensor.stride, leaf
        if view in seen:  # a million names of one tensor are one tensor
            continue
        seen.add(view)
        if tensor.numel() > _MAX_ENTRIES:
            raise CheckpointError(
                f"{key} is too large for a layer's statistics",
                expected=f"one entry per channel, at most {_MAX_ENTRIES}",
                found=f"{tensor.numel()} entries",
                hint="the file was edited or is damaged: take the original",
            )
        problem = _problem(key, leaf, tensor.numbers())
        problems += [problem] if problem else []
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CheckpointError(
            "; ".join(problems[:4]) + more,
            expected="finite gates and statistics, and no negative variance",
            found=f"{len(problems)} tensors that no training ends with",
            hint="the training diverged or the file is damaged: take an earlier checkpoint",
        )


def _problem(key: str, leaf: str, numbers: list[float]) -> str:
    unsound = [number for number in numbers if not math.isfinite(number)]
    if unsound:
        return f"{len(unsound)} of {len(numbers)} entries of {key} are NaN or infinite"
    negative = sum(number < _ROUNDING for number in numbers) if leaf == "running_var" else 0
    return f"{negative} of {len(numbers)} entries of {key} are negative" if negative else ""
