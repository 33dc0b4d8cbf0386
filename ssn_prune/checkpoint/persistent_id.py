"""References from a pickle to the bytes of tensors, which lie outside of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ssn_prune.checkpoint.input_file import damaged
from ssn_prune.checkpoint.unpickling import Inert

# By name of the class in torch: name of the dtype and bytes per element. None: untyped bytes.
_STORAGES: dict[str, tuple[str | None, int]] = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
    "UntypedStorage": (None, 1),
    "ComplexFloatStorage": ("complex64", 8),
    "ComplexDoubleStorage": ("complex128", 16),
    "QInt8Storage": ("qint8", 1),
    "QUInt8Storage": ("quint8", 1),
    "QInt32Storage": ("qint32", 4),
    "QUInt4x2Storage": ("quint4x2", 1),
    "QUInt2x4Storage": ("quint2x4", 1),
}
_MODULE = re.compile(r"torch(\.\w+)?")  # torch.cuda, torch.storage


@dataclass(frozen=True)
class StorageView:
    """A part of a storage that is a storage of its own in files before PyTorch 0.4.

    Attributes:
        key: Its name in the file.
        start: First byte.
        size: Number of bytes.
    """

    key: str
    start: int
    size: int


@dataclass(frozen=True)
class PersistentId:
    """What a pickle says about a storage.

    Attributes:
        key: Its name in the file.
        dtype: Name of the dtype; None if it is untyped.
        width: Bytes per element.
        size: Number of bytes.
        view: The part of it that is meant; None for the whole.
    """

    key: str
    dtype: str | None
    width: int
    size: int
    view: StorageView | None


def parse_persistent_id(path: Path, value: object) -> PersistentId:
    """Read ``("storage", type, key, location, numel)`` and, in legacy files, a view.

    The location, such as ``"cuda:0"``, is ignored: everything is read on the CPU.

    Raises:
        CheckpointError: The value is not such a tuple.
    """
    parts = value if isinstance(value, tuple) else ()
    if len(parts) not in (5, 6) or parts[0] != "storage":
        raise damaged(path, "a reference to a storage in an unknown form")
    _, kind, key, _, numel = parts[:5]
    module, _, leaf = kind.name.rpartition(".") if isinstance(kind, Inert) else ("", "", "")
    if not _MODULE.fullmatch(module) or leaf not in _STORAGES:
        raise damaged(path, "a storage of an unknown type")
    if not isinstance(key, str) or not _is_count(numel):
        raise damaged(path, "a storage without a name or a size")
    dtype, width = _STORAGES[leaf]
    view = None
    if len(parts) == 6 and parts[5] is not None:
        view = _view(path, parts[5], width)
    return PersistentId(key, dtype, width, numel * width, view)


def _view(path: Path, value: object, width: int) -> StorageView:
    if isinstance(value, tuple) and len(value) == 3:
        key, offset, numel = value
        if isinstance(key, str) and _is_count(offset) and _is_count(numel):
            return StorageView(key, offset * width, numel * width)
    raise damaged(path, "a view of a storage in an unknown form")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 48
