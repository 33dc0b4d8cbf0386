"""From the content of a file to one state dict and the facts beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssn_prune.checkpoint.entries import entry_of, networks_within, several_networks
from ssn_prune.checkpoint.reader import CheckpointFile
from ssn_prune.errors import ArgumentError, CheckpointError

_ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "module")
_EMA_ENTRIES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")
_ARCH_KEYS = ("arch", "model", "architecture")


@dataclass(frozen=True)
class Weights:
    """One state dict of a checkpoint.

    Attributes:
        tensors: Keys as in the file.
        entry: The entry of the file that it was taken from; None if the file is a bare state dict.
        others: Other entries that hold weights, such as an EMA.
        arch: The architecture that the checkpoint names.
        facts: Small metadata: epoch, best_prec1 and the like.
        input_size: Size of one training input, with channels, if the checkpoint names it.
    """

    tensors: dict[str, Tensor]
    entry: str | None
    others: tuple[str, ...]
    arch: str | None
    facts: dict[str, str | int | float]
    input_size: tuple[int, ...] | None


def extract_weights(file: CheckpointFile, entry: str | None = None) -> Weights:
    """Find the weights in a checkpoint.

    Args:
        file: What was read.
        entry: The entry to use instead of the first of ``state_dict``, ``model_state_dict``,
            ``model``, ... and, if there is nothing else, an EMA.

    Raises:
        CheckpointError: There are no weights, several networks and no ``entry``, or numbers that
            are NaN or infinite.
        ArgumentError: ``entry`` does not hold weights.
    """
    content = file.content
    if not isinstance(content, Mapping):
        raise _not_weights(file, f"an object of type {type(content).__name__}")
    found = {
        key: state
        for key in (*_ENTRIES, *_EMA_ENTRIES)
        if (state := _state_of(content.get(key))) is not None
    }
    if entry is not None:
        state = _state_of(entry_of(content, entry))
        if state is None:
            raise ArgumentError(
                f"{file.path} has no weights under {entry!r}",
                expected=f"one of: {_listed(content, found)}",
                found=f"entries {', '.join(map(str, list(content)[:8]))}",
                hint="leave `weights=` out to take the first",
            )
        tensors, used = state, entry
    elif found:
        used = next(iter(found))
        tensors = found[used]
    elif (bare := _state_of(content)) is not None:
        tensors, used = bare, None
    elif inside := networks_within(content, _state_of):
        if len(inside) > 1:
            raise several_networks(file.path, {name: list(inside[name]) for name in inside})
        ((used, tensors),) = inside.items()
    else:
        listed = ", ".join(map(str, list(content)[:8])) or "nothing"
        raise _not_weights(file, f"a dict with {listed}")
    _require_finite(tensors)
    named = {**content, **file.metadata}
    arch = next((named[k] for k in _ARCH_KEYS if isinstance(named.get(k), str)), None)
    facts = {
        str(key): value
        for key, value in named.items()
        if isinstance(value, str | int | float) and key not in _ARCH_KEYS
    }
    others = tuple(key for key in found if key != used)
    return Weights(tensors, used, others, arch, facts, _input_size(named.get("input_size")))


def _listed(content: Mapping[Any, Any], found: Mapping[str, object]) -> str:
    names = found or networks_within(content, _state_of)
    return ", ".join(names) or "none; the file is a bare state dict"


def _input_size(value: Any) -> tuple[int, ...] | None:
    """Taken from the file if it is what our training scripts write, else ignored."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 4:
        return None
    sound = all(isinstance(size, int) and 1 <= size <= 1 << 16 for size in value)
    return tuple(value) if sound else None


def _state_of(value: Any) -> dict[str, Tensor] | None:
    """The tensors of ``value`` if it is a state dict, looking one level into a wrapper."""
    if not isinstance(value, Mapping):
        return None
    tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors and 2 * len(tensors) >= len(value):
        return tensors
    for key in ("state_dict", "module", "model"):
        inner = value.get(key)
        if isinstance(inner, Mapping) and inner is not value:
            return _state_of(inner)
    return None


def _require_finite(tensors: Mapping[str, Tensor]) -> None:
    bad = [
        key
        for key, value in tensors.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if bad:
        raise CheckpointError(
            f"{len(bad)} tensors hold NaN or infinity: {', '.join(bad[:5])}",
            expected="finite weights and statistics",
            found=f"NaN or infinity in {len(bad)} of {len(tensors)} tensors",
            hint="the training diverged: take an earlier checkpoint",
        )


def _not_weights(file: CheckpointFile, found: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path} holds no weights",
        expected="a state dict, or a dict with one under " + ", ".join(_ENTRIES),
        found=found,
        hint="save with torch.save({'state_dict': model.state_dict()}, path)",
    )
