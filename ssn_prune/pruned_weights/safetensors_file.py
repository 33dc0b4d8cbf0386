"""Write safetensors: the length of the header, the header as JSON, and the bytes of the tensors.

``checkpoint/safetensors.py`` reads it, and so does every other reader of the format. A tensor with
several names is written once; the metadata record its other names, as
``safetensors.torch.save_model`` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ssn_prune.checkpoint.safetensors import DTYPE_NAMES, MAX_HEADER
from ssn_prune.errors import ExportError
from ssn_prune.files import write_errors

_ALIGNMENT = 8


def write_safetensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], temporary: Path, target: Path
) -> None:
    """Write a safetensors file.

    Args:
        tensors: By name; the same object under several names is written once.
        metadata: Strings to store.
        temporary: The file to write, which is moved to ``target`` later.
        target: Its final name, for errors.

    Raises:
        ExportError: The format does not support a tensor's kind, or the header is larger than
            readers accept.
        OutputError: The file cannot be written.
    """
    kept: dict[int, str] = {}
    others = {}
    for name, tensor in tensors.items():
        first = kept.setdefault(id(tensor), name)
        if first != name:
            others[name] = first
    # The widest first, so that every tensor begins at a multiple of its own width.
    order = sorted(kept.values(), key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": {**metadata, **others}}
    place = 0
    for name in order:
        size = tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": _dtype(name, tensors[name]),
            "shape": list(tensors[name].shape),
            "data_offsets": [place, place + size],
        }
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ExportError(
            "the pruned network has too many layers for a safetensors file",
            expected=f"a header of at most {MAX_HEADER} bytes, which readers accept",
            found=f"{len(text)} bytes",
            hint="save the state dict with torch.save",
        )
    with write_errors(target), temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            file.write(_bytes(tensors[name]))


def _dtype(name: str, tensor: Tensor) -> str:
    found = DTYPE_NAMES.get(str(tensor.dtype).removeprefix("torch."))
    if found is None or tensor.layout is not torch.strided or tensor.is_quantized:
        kind = str(tensor.dtype) if found is None else str(tensor.layout)
        raise ExportError(
            f"{name} cannot be in a file of pruned weights",
            expected="dense tensors of real numbers, whole numbers or flags",
            found=f"a tensor of {kind}",
            hint="keep it outside of the network's parameters and buffers",
        )
    return found


def _bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data if plain.numel() else memoryview(b"")
