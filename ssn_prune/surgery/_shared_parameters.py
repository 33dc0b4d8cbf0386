"""Copies of a network that share the memory of its parameters, and a guard against writes to it.

Without sharing, the peak memory of a conversion grows by the weights of every copy; without the
guard, the code of a network could write to the caller's weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_prune.surgery.copying import Memo, cast_copy, copy_model, copy_with

T = TypeVar("T")


def shared_copy(model: nn.Module) -> nn.Module:
    """Copy a model (not changed); the copy has its own parameters on the same memory.

    They may get other memory (``parameter.data = ...``), but must not be written to: run such a
    copy under :class:`WriteGuard`.
    """
    memo: Memo = {}
    for parameter in model.parameters():
        # Parameters of a subclass, or not initialized yet, are more than their memory.
        if type(parameter) is nn.Parameter and not parameter.is_inference():
            memo[id(parameter)] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    return copy_with(model, memo)


def unshare(copied: nn.Module, model: nn.Module) -> None:
    """Give parameters of a copy memory of their own, in place, where they share that of ``model``.

    Other parameters stay as they are.
    """
    shared = guarded_memory(model)
    for parameter in copied.parameters():
        if parameter.layout is torch.strided and memory_of(parameter) in shared:
            parameter.data = parameter.detach().clone()


class SharedWriteError(RuntimeError):
    """The code of a network writes to one of its parameters while it runs."""


class WriteGuard(TorchDispatchMode):
    """While active, nothing is written to the memory of a network's parameters.

    An operator that would write to it raises :class:`SharedWriteError` before it runs.

    Args:
        model: The network whose memory is guarded, whichever tensor refers to it.
    """

    only_watches = True  # the switchable layers may leave torch, see ssn_prune.nn.planes

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self._guarded = guarded_memory(model)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func`` unless it writes where it must not."""
        del types
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for index, argument in enumerate(func._schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    value = args[index] if index < len(args) else kwargs.get(argument.name)
                    self._require_unguarded(value)
        return func(*args, **kwargs)

    def _require_unguarded(self, value: Any) -> None:
        for tensor in value if isinstance(value, list | tuple) else [value]:
            strided = isinstance(tensor, Tensor) and tensor.layout is torch.strided
            if strided and memory_of(tensor) in self._guarded:
                raise SharedWriteError("the network writes to one of its parameters")


def guarded_memory(model: nn.Module) -> set[int]:
    """Addresses of the memory of a network's parameters."""
    parameters = [p for p in model.parameters() if p.layout is torch.strided]
    return {memory_of(parameter) for parameter in parameters} - {0}


def memory_of(tensor: Tensor) -> int:
    """The address of a tensor's memory; 0 if it has none."""
    unmade = isinstance(tensor, UninitializedParameter | UninitializedBuffer)
    if unmade or tensor.layout is not torch.strided:
        return 0
    return tensor.untyped_storage().data_ptr()


def run_copy(model: nn.Module, run: Callable[[nn.Module], T]) -> T:
    """Run a copy of a model, which itself is not changed.

    Args:
        model: The model.
        run: Called with the copy, whose parameters share the model's memory. If the network writes
            to them, ``run`` is called once more with a copy that shares nothing.
    """
    try:
        with WriteGuard(model):
            return run(shared_copy(model))
    except SharedWriteError:
        return run(copy_model(model))


def run_float32_copy(model: nn.Module, run: Callable[[nn.Module], T]) -> T:
    """Like :func:`run_copy`, with a copy in evaluation mode whose floating tensors are float32."""
    return run_copy(model, lambda copied: run(cast_copy(copied, torch.float32)))
