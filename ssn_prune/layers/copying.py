"""Copies of a model that never disturb the original."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def copy_model(model: nn.Module, *, share_tensors: bool = False) -> nn.Module:
    """Copy a model; aliases and shared parameters stay aliased and shared in the copy.

    Args:
        model: Any module. It is not changed.
        share_tensors: Keep the very same parameters and buffers: a cheap skeleton whose modules can
            be replaced freely, but whose tensors must not be written to.

    Returns:
        The copy, in the same training mode.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            # weight_norm's hook keeps its result as a non-leaf attribute, which deepcopy refuses;
            # it is recomputed at the next call.
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    if share_tensors:
        for tensor in _all_tensors(model):
            memo[id(tensor)] = tensor
    return copy.deepcopy(model, memo)


def _all_tensors(model: nn.Module) -> list[Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return [tensor for _, tensor in named]


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Put ``new`` wherever ``old`` is registered in ``model``, in place, under all of its names.

    Returns:
        ``model``, or ``new`` if ``old`` is the model itself.
    """
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                setattr(parent, name, new)
    return new if old is model else model


_HOOK_TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def carry_hooks(old: nn.Module, new: nn.Module) -> None:
    """Give ``new`` all hooks of ``old``, in place."""
    for table in _HOOK_TABLES:
        getattr(new, table).update(getattr(old, table))


def has_hooks(module: nn.Module) -> bool:
    """Whether anything is hooked to ``module`` itself."""
    return any(getattr(module, table) for table in _HOOK_TABLES)


def names_of(model: nn.Module, module: nn.Module) -> tuple[str, ...]:
    """All paths under which ``module`` is registered, in the model's order."""
    return tuple(
        name for name, found in model.named_modules(remove_duplicate=False) if found is module
    )


def floating_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """An evaluation-mode copy with all floating tensors in ``dtype``."""
    copied = copy_model(model).to(dtype)
    copied.eval()  # as a statement: overridden train methods need not return the module
    return copied
