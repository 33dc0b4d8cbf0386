"""Copies of a model that never disturb the original."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def copy_model(
    model: nn.Module, *, share_tensors: bool = False, share_parameters: bool = False
) -> nn.Module:
    """Copy a model; aliases and shared parameters stay aliased and shared in the copy.

    Args:
        model: Any module. It is not changed.
        share_tensors: Keep the very same parameters and buffers: a cheap skeleton whose modules can
            be replaced freely, but whose tensors must not be written to.
        share_parameters: Make parameters of the copy's own on the same memory. They may get other
            memory (``parameter.data = ...``), but must not be written to: run such a copy under
            :class:`ssn_prune.surgery._shared_parameters.WriteGuard`.

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
    elif share_parameters:
        for parameter in model.parameters():
            # Others, of a class of their own or not made yet, are more than their memory.
            if type(parameter) is nn.Parameter and not parameter.is_inference():
                alias = nn.Parameter(parameter.detach(), parameter.requires_grad)
                memo[id(parameter)] = alias
    return copy.deepcopy(model, memo)


def _all_tensors(model: nn.Module) -> list[Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return [tensor for _, tensor in named]


def replace_modules(
    model: nn.Module, replacements: Iterable[tuple[nn.Module, nn.Module]]
) -> nn.Module:
    """Put new modules wherever old ones are registered in ``model``, in place, under all names.

    Args:
        model: Any module.
        replacements: Pairs of an old and a new module.

    Returns:
        ``model``, or what replaces it.
    """
    successors = {id(old): new for old, new in replacements}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and id(child) in successors:
                setattr(parent, name, successors[id(child)])
    return successors.get(id(model), model)


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


def all_names(model: nn.Module) -> dict[int, tuple[str, ...]]:
    """Of each module, by ``id``, all paths under which it is registered, in the model's order."""
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return {key: tuple(paths) for key, paths in names.items()}


def floating_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """An evaluation-mode copy with all floating tensors in ``dtype``, complex ones accordingly."""
    return cast_copy(copy_model(model), dtype)


def cast_copy(copied: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Bring a copy into evaluation mode and its floating tensors into ``dtype``, in place.

    Parameters that are in ``dtype`` already keep their memory.
    """

    def cast(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(dtype.to_complex())
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    copied._apply(cast)
    copied.eval()  # as a statement: overridden train methods need not return the module
    return copied


def wide_copy(model: nn.Module) -> nn.Module:
    """An evaluation-mode copy for :class:`ssn_prune.surgery.nested.WideArithmetic`; no memory.

    Its float32 parameters of two or more axes, which are kernels, stay as they are and are on the
    memory of the model's. Everything else that is floating becomes float64.
    """
    copied = copy_model(model, share_parameters=True)
    kernels = {
        id(parameter)
        for parameter in copied.parameters()
        if parameter.dtype is torch.float32 and parameter.dim() >= 2
    }
    for module in copied.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = _widest(buffer)
    for parameter in copied.parameters():
        if id(parameter) not in kernels:
            parameter.data = _widest(parameter.data)
    copied.eval()
    return copied


def _widest(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor
