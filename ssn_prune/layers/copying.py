"""Copies of a model that never disturb the original."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ssn_prune.errors import SelfModifyingNetworkError


def copy_model(
    model: nn.Module, *, share_tensors: bool = False, share_parameters: bool = False
) -> nn.Module:
    """Copy a model; aliases and shared parameters stay aliased and shared in the copy.

    Args:
        model: Any module. It is not changed.
        share_tensors: Keep the very same parameters and buffers: a cheap skeleton whose modules can
            be replaced freely, but whose tensors must not be written to.
        share_parameters: Make parameters of the copy's own on the same memory. Such a copy can run,
            because what a network writes to while it runs are buffers; its parameters may get other
            values (``parameter.data = ...``), but must not be written to.

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
            if not isinstance(parameter, UninitializedParameter):
                alias = nn.Parameter(parameter.detach(), parameter.requires_grad)
                memo[id(parameter)] = alias
    return copy.deepcopy(model, memo)


@contextlib.contextmanager
def unchanged_parameters(model: nn.Module) -> Iterator[None]:
    """Guard runs of copies that share a model's parameters.

    Raises:
        SelfModifyingNetworkError: The model's code wrote to them.
    """
    before = {name: _fingerprint(value) for name, value in model.named_parameters()}
    yield
    for name, value in model.named_parameters():
        if _fingerprint(value) != before[name]:
            raise SelfModifyingNetworkError(
                f"the network writes to its parameter {name} while it runs",
                expected="a forward that leaves the parameters alone in evaluation mode",
                found=f"other values of {name} after a run",
                hint="compute what you need from the parameter without writing to it",
            )


def _fingerprint(parameter: nn.Parameter) -> tuple[int, float]:
    """Tells another memory and, by a sample of them, other values; writing past autograd too."""
    if isinstance(parameter, UninitializedParameter):
        return 0, 0.0
    values = parameter.detach().flatten()
    step = max(1, values.numel() // _SAMPLED)
    return parameter.data_ptr(), float(values[::step].sum(dtype=torch.float64).nan_to_num())


_SAMPLED = 4096


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
    """An evaluation-mode copy with all floating tensors in ``dtype``.

    Parameters that are in ``dtype`` already share their memory with the model's: such a copy can
    run, but its parameters must not be written to.
    """
    copied = copy_model(model, share_parameters=True).to(dtype)
    copied.eval()  # as a statement: overridden train methods need not return the module
    return copied


def wide_copy(model: nn.Module) -> nn.Module:
    """An evaluation-mode copy for :class:`ssn_prune.tensors.WideArithmetic`, which takes no memory.

    Its float32 parameters of two or more axes, which are kernels, stay as they are and share their
    memory with the model's. Everything else that is floating becomes float64.
    """
    copied = copy_model(model, share_parameters=True)
    for module in copied.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                module._buffers[name] = buffer.double()
    for parameter in copied.parameters():
        if parameter.is_floating_point() and not (
            parameter.dtype is torch.float32 and parameter.dim() >= 2
        ):
            parameter.data = parameter.data.double()
    copied.eval()
    return copied
