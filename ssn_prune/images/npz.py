"""Arrays of an .npz file, which anyone may have written; nothing in it is executed."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssn_prune.errors import DataError
from ssn_prune.images.image_arrays import MAX_BYTES
from ssn_prune.text import listed, printable, shown

_INPUTS = ("images", "x", "inputs")
_LABELS = ("labels", "y", "targets")
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    zlib.error,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    OverflowError,
    KeyError,
    TypeError,
)


def read_npz(path: Path, inputs: int) -> tuple[list[Tensor], Tensor | None]:
    """Read inputs and labels.

    Args:
        path: A file with the arrays ``images`` (or ``x``, ``inputs``) and optionally ``labels`` (or
            ``y``, ``targets``); further inputs of a network are called ``images_1`` and so on.
        inputs: Number of inputs of the network.

    Raises:
        DataError: The file is damaged, lacks these arrays or is larger than 2 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [member.file_size for member in archive.infolist()]
        if sum(sizes) > MAX_BYTES:
            raise _too_large(path, sum(sizes))
        with np.load(path, allow_pickle=False) as content:
            name = next((name for name in _INPUTS if name in content.files), None)
            wanted = [] if name is None else [name, *(f"{name}_{i}" for i in range(1, inputs))]
            if name is None or not set(wanted) <= set(content.files):
                raise _without(path, wanted or ["images"], list(content.files))
            arrays = [_tensor(path, n, content[n]) for n in wanted]
            label = next((n for n in _LABELS if n in content.files), None)
            labels = None if label is None else _tensor(path, label, content[label])
    except _UNREADABLE as error:
        raise DataError(
            f"{printable(str(path))} cannot be read",
            expected="a file of numpy.savez with arrays of numbers",
            found=printable(str(error).partition("\n")[0] or type(error).__name__),
            hint="save it again: numpy.savez('data.npz', images=x, labels=y)",
        ) from error
    return arrays, labels


def _tensor(path: Path, name: str, array: Any) -> Tensor:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DataError(
            f"{printable(str(path))}: {shown(name)} is not an array of numbers",
            expected="float32, uint8 or whole numbers",
            found=str(getattr(array, "dtype", "a file of another kind")),
            hint="save it as numbers: array.astype(numpy.float32)",
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _without(path: Path, wanted: list[str], found: list[str]) -> DataError:
    return DataError(
        f"{printable(str(path))} does not have the network's inputs",
        expected="the arrays " + ", ".join(wanted) + " (or x, inputs), and labels (or y, targets)",
        found=printable(listed(found, 8)) or "no arrays",
        hint="save it again: numpy.savez('data.npz', images=x, labels=y)",
    )


def _too_large(path: Path, size: int) -> DataError:
    return DataError(
        f"{printable(str(path))} is too large to be read at once",
        expected=f"at most {MAX_BYTES >> 30} GiB of arrays",
        found=f"{size} bytes",
        hint="save fewer inputs, or give a folder of images",
    )
