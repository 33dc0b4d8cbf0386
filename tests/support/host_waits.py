"""Check without a GPU that code never makes the host wait for a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


class TransferError(Exception):
    """An operator mixes tensors on the host with tensors on the device."""


class NoTransfers(TorchDispatchMode):
    """Raises :class:`TransferError`, for example at an index that is a Python list."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        result = func(*args, **(kwargs or {}))
        flat, _ = torch.utils._pytree.tree_flatten((args, kwargs, result))
        devices = {value.device.type for value in flat if isinstance(value, Tensor)}
        if len(devices) > 1:
            raise TransferError(str(func))
        return result


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Tensors made inside are on a ``cuda`` device without values; reading one raises."""
    with FakeTensorMode(), torch.device("cuda"):
        yield
