"""Tensors as a file describes them, before any of their numbers is read.

Nothing here imports torch: ``inspect`` reads a few gates out of a large file and must not wait for
it. :mod:`ssn_prune.checkpoint.tensors` makes torch tensors of these.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass

# By name of the dtype: bytes an element, and struct's code; "" where struct has none.
DTYPES: dict[str, tuple[int, str]] = {
    "float64": (8, "d"),
    "float32": (4, "f"),
    "float16": (2, "e"),
    "bfloat16": (2, ""),
    "int64": (8, "q"),
    "int32": (4, "i"),
    "int16": (2, "h"),
    "int8": (1, "b"),
    "uint8": (1, "B"),
    "bool": (1, "?"),
}


class Storage(ABC):
    """The bytes behind one or several tensors; equal only to itself.

    Attributes:
        size: Number of bytes.
        big_endian: Whether its numbers are stored with the most significant byte first.
    """

    size: int
    big_endian: bool = False

    @abstractmethod
    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``, read from the file now.

        Raises:
            CheckpointError: The file changed or ends too early.
        """


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A view of a storage, inside of which every element was found to lie.

    Attributes:
        storage: Its bytes.
        dtype: A key of :data:`DTYPES`.
        shape: Sizes.
        stride: Steps in elements.
        offset: First element.
    """

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def dim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def numbers(self) -> list[float]:
        """All elements in the order of the axes; for small tensors."""
        width, code = DTYPES[self.dtype]
        order = ">" if self.storage.big_endian else "<"
        indices = [self.offset]
        for size, step in zip(self.shape, self.stride, strict=True):
            indices = [index + i * step for index in indices for i in range(size)]
        if not indices:
            return []
        first = min(indices)
        data = self.storage.read(first * width, (max(indices) + 1) * width)
        places = [(index - first) * width for index in indices]
        if code:
            return [struct.unpack_from(order + code, data, place)[0] for place in places]
        return [_bfloat16(data[place : place + 2], order) for place in places]


@dataclass(frozen=True, eq=False)
class UnsupportedTensor:
    """A tensor of a kind that no switchable network has, refused where a weight is wanted.

    Attributes:
        kind: What it is, for the message, such as ``"a sparse tensor (layout torch.sparse_coo)"``.
    """

    kind: str


def _bfloat16(pair: bytes, order: str) -> float:
    (upper,) = struct.unpack(order + "H", pair)
    value: float = struct.unpack("<f", struct.pack("<I", upper << 16))[0]
    return value
