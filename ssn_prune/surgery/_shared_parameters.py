"""Running copies of a network that share its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_prune.surgery.copying import copy_model

T = TypeVar("T")


class SharedWriteError(RuntimeError):
    """The code of a network writes to one of its parameters while it runs."""


class WriteGuard(TorchDispatchMode):
    """While active, nothing is written to the memory of a network's parameters.

    Raises :class:`SharedWriteError` before it would be.

    Args:
        model: The network whose memory is guarded, whatever tensor means it.
    """

    only_watches = True  # the switchable layers may leave torch, see ssn_prune.nn.planes

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        parameters = [p for p in model.parameters() if p.layout is torch.strided]
        self._guarded = {_memory(p) for p in parameters} - {0}

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
            if strided and _memory(tensor) in self._guarded:
                raise SharedWriteError("the network writes to one of its parameters")


def _memory(tensor: Tensor) -> int:
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        return 0
    return tensor.untyped_storage().data_ptr()


def run_copy(model: nn.Module, run: Callable[[nn.Module], T]) -> T:
    """Run a copy of a model, which itself is not changed.

    Args:
        model: The model.
        run: Is given the copy. Its parameters are on the memory of the model's; if the network
            writes to them, ``run`` is called once more with a copy that shares nothing.
    """
    try:
        with WriteGuard(model):
            return run(copy_model(model, share_parameters=True))
    except SharedWriteError:
        return run(copy_model(model))
