"""From descriptions of tensors to torch tensors with memory of their own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssn_prune.checkpoint.file_storage import Window
from ssn_prune.checkpoint.input_file import SAVE_WEIGHTS
from ssn_prune.checkpoint.stored import DTYPES, Storage, StoredTensor
from ssn_prune.errors import CheckpointError


def to_torch(stored: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """Read tensors from their open file.

    Tensors that share a storage there share memory here. Nothing is mapped: what happens to the
    file later does not matter.

    Args:
        stored: Descriptions by key.

    Returns:
        Tensors by key, on the CPU, with the same dtype, shape and stride.

    Raises:
        CheckpointError: The file changed, a checksum is wrong, or memory does not suffice.
    """
    buffers: dict[Storage, Tensor] = {}
    swapped: dict[Storage, int] = {}
    return {key: _tensor(key, value, buffers, swapped) for key, value in stored.items()}


def _tensor(
    key: str, stored: StoredTensor, buffers: dict[Storage, Tensor], swapped: dict[Storage, int]
) -> Tensor:
    width = DTYPES[stored.dtype][0]
    storage = stored.storage
    if not stored.numel():  # its offset and strides mean nothing
        return torch.empty(stored.shape, dtype=getattr(torch, stored.dtype))
    buffer = _bytes(key, storage, buffers)
    typed = buffer[: storage.size - storage.size % width].view(getattr(torch, stored.dtype))
    if storage.big_endian and width > 1:
        if storage not in swapped:
            buffer.untyped_storage().byteswap(typed.dtype)
            swapped[storage] = width
        if swapped[storage] != width:
            raise _refused(key, "bytes in big-endian order that two dtypes share")
    place = typed.storage_offset() + stored.offset
    tensor = typed.as_strided(stored.shape, stored.stride, place)
    if stored.dtype == "bool" and bool((tensor.view(torch.uint8) > 1).any()):
        raise _refused(key, "flags that are neither 0 nor 1")
    return tensor


def _bytes(key: str, storage: Storage, buffers: dict[Storage, Tensor]) -> Tensor:
    """The memory of a storage, read once."""
    if isinstance(storage, Window):
        return _bytes(key, storage.base, buffers)[storage.start : storage.start + storage.size]
    if storage not in buffers:
        try:
            buffer = torch.empty(storage.size, dtype=torch.uint8)
        except RuntimeError as error:  # torch's allocator has no exception type of its own
            raise CheckpointError(
                f"{key} does not fit into memory",
                expected="enough memory for the weights of the file",
                found=f"{storage.size} bytes could not be allocated",
                hint="close other programs or use a larger machine",
            ) from error
        storage.fill(buffer.numpy().data)
        buffers[storage] = buffer
    return buffers[storage]


def _refused(key: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{key} cannot be read",
        expected="a tensor as torch.save writes it",
        found=found,
        hint=f"save the weights again: {SAVE_WEIGHTS}",
    )
