"""The safetensors format: the length of a JSON header, the header, and the bytes of the tensors.

The header gives dtype, shape and place by key, and may hold text under ``__metadata__``. The places
follow each other without gaps or overlaps up to the end of the file. There are no checksums.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ssn_prune.checkpoint.file_storage import FileStorage
from ssn_prune.checkpoint.input_file import InputFile, damaged
from ssn_prune.checkpoint.stored import DTYPES, StoredTensor, UnsupportedTensor
from ssn_prune.checkpoint.unpickling import Pairs
from ssn_prune.text import shown, without_surrogates

OWN_KEYS = "ssn_prune."
"""The prefix of the names of our own metadata."""
PRUNED_KEY = "ssn_prune.pruned"
"""Name of the metadata that hold the plan of a network that is already pruned."""
MAX_HEADER = 8 << 20  # bytes; a tensor takes about 100
DTYPE_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
# Bits per element of dtypes that no network here has.
_OTHER_DTYPES = {
    "U16": 16,
    "U32": 32,
    "U64": 64,
    "C64": 64,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
_FIELDS = ["data_offsets", "dtype", "shape"]


def read_safetensors(file: InputFile) -> tuple[Pairs, dict[str, str]]:
    """Read the header of a file.

    Returns:
        The tensors by key, also under other names of the same tensor (``save_model``); and the
        metadata.

    Raises:
        CheckpointError: The header is damaged or contradicts itself.
    """
    length = int.from_bytes(file.read(0, 8), "little")
    if length > MAX_HEADER:
        raise damaged(file.path, f"{file.size} bytes; a header of {length} bytes")
    header = _parse(file, file.read(8, 8 + length))
    metadata = _metadata(file, header.pop("__metadata__", {}))
    found: dict[str, StoredTensor | UnsupportedTensor] = {}
    place = 8 + length
    for start, end, key, entry in sorted(_placed(file, header), key=lambda item: item[:3]):
        if 8 + length + start != place:
            raise damaged(file.path, f"{shown(key)} does not begin where the tensor before it ends")
        place = 8 + length + end
        found[key] = _tensor(file, key, entry, 8 + length + start, end - start)
    if place != file.size:
        raise damaged(file.path, f"{file.size} bytes; its tensors end at byte {place}")
    # save_model writes a tensor with several names once and records the others: name -> kept.
    # Our own metadata are not names of tensors, whatever they say.
    others = {
        name: found[kept]
        for name, kept in metadata.items()
        if kept in found and not name.startswith(OWN_KEYS)
    }
    tensors = {key: found[key] for key in header} | {
        name: tensor for name, tensor in others.items() if name not in found
    }
    return Pairs(tensors.keys(), tensors.values()), metadata


def _parse(file: InputFile, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(
            text.decode(),
            object_pairs_hook=_without_repeats,
            parse_constant=_refused,
            parse_float=_refused,
            parse_int=_bounded,
        )
    except (ValueError, RecursionError) as error:  # too deep
        raise damaged(file.path, f"a header that is no valid JSON: {str(error)[:100]}") from error
    if not isinstance(header, dict):
        raise damaged(file.path, "a header that is not a JSON object")
    return header


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refused(text: str) -> float:
    raise ValueError(f"{text[:20]} is not an integer")


def _bounded(digits: str) -> int:
    if len(digits) > 16:
        raise ValueError("a number of more than 16 digits")
    return int(digits)


def _metadata(file: InputFile, value: Any) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        # JSON can hold lone surrogates, which cannot be printed.
        return {key: without_surrogates(text) for key, text in value.items()}
    raise damaged(file.path, "metadata that is not text")


def _placed(file: InputFile, header: dict[str, Any]) -> list[tuple[int, int, str, dict[str, Any]]]:
    placed = []
    for key, entry in header.items():
        if not isinstance(entry, dict) or sorted(entry) != _FIELDS:
            raise damaged(file.path, f"{shown(key)} has no dtype, shape and data_offsets")
        offsets, shape = entry["data_offsets"], entry["shape"]
        if not (_counts(offsets) and len(offsets) == 2 and _counts(shape) and len(shape) <= 64):
            raise damaged(file.path, f"{shown(key)} has no sizes")
        placed.append((offsets[0], offsets[1], key, entry))
    return placed


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _tensor(
    file: InputFile, key: str, entry: dict[str, Any], start: int, size: int
) -> StoredTensor | UnsupportedTensor:
    name, shape = entry["dtype"], tuple(entry["shape"])
    dtype = _DTYPES.get(name) if isinstance(name, str) else None
    bits = 8 * DTYPES[dtype][0] if dtype else _OTHER_DTYPES.get(str(name)[:20])
    if bits is None:
        raise damaged(file.path, f"{shown(key)} has the unknown dtype {shown(str(name)[:20])}")
    if math.prod(shape) * bits != 8 * size:
        raise damaged(
            file.path, f"{shown(key)} of the shape {str(shape)[:80]} and {name} has {size} bytes"
        )
    if dtype is None:
        return UnsupportedTensor(f"a tensor of the dtype {name}")
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    storage = FileStorage(file, start, size, label=shown(key))
    return StoredTensor(storage, dtype, shape, strides, 0)
