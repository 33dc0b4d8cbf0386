"""Copies of a model that never disturb the original."""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict, deque
from collections.abc import Iterable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import CaptureError, first_line
from ssn_prune.surgery.unregistered import held_objects

Memo = dict[int, Any]
"""Objects of the copy by ``id`` of the original, as in :func:`copy.deepcopy`."""


def copy_model(model: nn.Module, *, share_tensors: bool = False) -> nn.Module:
    """Copy a model; aliases and shared parameters stay aliased and shared in the copy.

    Args:
        model: Any module. It is not changed.
        share_tensors: Keep the very same parameters and buffers: a cheap copy whose modules can be
            replaced freely, but whose tensors must not be written to.

    Returns:
        The copy, in the same training mode.

    Raises:
        CaptureError: The model cannot be copied.
    """
    shared = _all_tensors(model) if share_tensors else []
    return copy_with(model, {id(tensor): tensor for tensor in shared})


def copy_with(model: nn.Module, known: Memo) -> nn.Module:
    """Copy a model (not changed) in which some objects are replaced by given ones.

    A network may refuse :func:`copy.deepcopy`, or return itself. Its modules, tensors and plain
    containers are then copied one by one; everything else is shared with the original.

    Raises:
        CaptureError: That fails too.
    """
    memo = {**_computed_tensors(model), **known}
    original = {id(module) for module in model.modules()}
    try:
        copied: nn.Module = copy.deepcopy(model, dict(memo))
        if not any(id(module) in original for module in copied.modules()):
            return copied
    # The network's classes are the user's code and may raise anything.
    except Exception:  # noqa: BLE001  # the second way decides whether it can be copied
        pass
    try:
        copied = _Structure(memo).copied(model)
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} cannot be copied",
            expected="a network that can be copied, so that the original is not changed",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="remove what its modules hold besides tensors, modules and plain values",
        ) from error
    return copied


def _computed_tensors(model: nn.Module) -> Memo:
    # weight_norm's hook keeps its result as a non-leaf attribute, which deepcopy refuses; it is
    # recomputed at the next call.
    return {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }


class _Structure:
    """Copies modules, tensors and containers; shares everything else."""

    def __init__(self, memo: Memo) -> None:
        self.memo = dict(memo)

    def copied(self, value: Any) -> Any:
        if id(value) in self.memo:
            return self.memo[id(value)]
        if isinstance(value, nn.Module):
            module = object.__new__(type(value))
            self.memo[id(value)] = module  # before its parts, which may refer to it
            for name, item in vars(value).items():
                module.__dict__[name] = self.copied(item)
            return module
        made = self._made(value)
        if made is not value:
            self.memo[id(value)] = made
        return made

    def _made(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, nn.Parameter):
            return nn.Parameter(value.detach().clone(), value.requires_grad)
        if isinstance(value, Tensor):
            return value.detach().clone()
        if kind in (dict, OrderedDict):
            return kind((key, self.copied(item)) for key, item in value.items())
        if kind in (list, tuple, set, deque):
            return kind(map(self.copied, value))
        if kind is MethodType:
            return MethodType(value.__func__, self.copied(value.__self__))
        if kind is functools.partial:
            arguments = map(self.copied, value.args)
            named = {name: self.copied(item) for name, item in value.keywords.items()}
            return functools.partial(self.copied(value.func), *arguments, **named)
        return value


def _all_tensors(model: nn.Module) -> list[Tensor]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return [tensor for _, tensor in named]


def copy_replacing(
    model: nn.Module, replacements: Iterable[tuple[nn.Module, nn.Module]]
) -> nn.Module:
    """Copy a model (not changed) with new modules wherever it holds old ones.

    A Python list, a bound method or a helper object of the copy holds the new module, too. What
    cannot be copied, such as a closure, still holds the old one: see
    :mod:`ssn_prune.surgery.unregistered`.

    Args:
        model: Any module.
        replacements: Pairs of an old and a new module.

    Returns:
        The copy, with the very same parameters and buffers, or what replaces ``model``. A new
        module gets the hooks of the old one.

    Raises:
        CaptureError: The model cannot be copied.
    """
    pairs = list(replacements)
    replaced = {id(old): new for old, new in pairs}
    known: Memo = {**{id(tensor): tensor for tensor in _all_tensors(model)}, **replaced}
    for _, value in held_objects(model):
        if isinstance(value, MethodType) and id(value.__self__) in replaced:
            known[id(value)] = getattr(replaced[id(value.__self__)], value.__name__, None)
    # Hooks of an old module may refer to the model, so they are copied along with it.
    together = _WithHooks(model, [_hooks_of(old) for old, _ in pairs])
    copied = copy_with(together, known)
    assert isinstance(copied, _WithHooks)  # a copy of this class's instance
    for (_, new), tables in zip(pairs, copied.tables, strict=True):
        for name, hooks in tables.items():
            getattr(new, name).update(hooks)
    return copied.model


class _WithHooks(nn.Module):
    """A model, and tables of hooks that are copied in one go with it."""

    def __init__(self, model: nn.Module, tables: list[dict[str, Any]]) -> None:
        super().__init__()
        self.model = model
        self.tables = tables


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
    replaced = {id(old): new for old, new in replacements}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and id(child) in replaced:
                setattr(parent, name, replaced[id(child)])
    return replaced.get(id(model), model)


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
    for table, hooks in _hooks_of(old).items():
        getattr(new, table).update(hooks)


def _hooks_of(module: nn.Module) -> dict[str, Any]:
    return {table: getattr(module, table) for table in _HOOK_TABLES}


def has_hooks(module: nn.Module) -> bool:
    """Whether anything is hooked to ``module`` itself."""
    return any(getattr(module, table) for table in _HOOK_TABLES)


def all_names(model: nn.Module) -> dict[int, tuple[str, ...]]:
    """All paths of each module, by its ``id``, in the model's order."""
    names: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return {key: tuple(paths) for key, paths in names.items()}


def cast_copy(copied: nn.Module, dtype: torch.dtype, *, own_memory: bool = False) -> nn.Module:
    """Put a copy into evaluation mode and cast its floating tensors to ``dtype``, in place.

    Complex tensors become those of the same precision. Tensors that are not cast keep their memory
    unless ``own_memory`` is set.
    """

    def cast(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(dtype.to_complex(), copy=own_memory)
        kept = dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(kept, copy=own_memory)

    copied._apply(cast)
    copied.eval()  # as a statement: overridden train methods need not return the module
    return copied
