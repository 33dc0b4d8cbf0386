"""Tensors as a file describes them, before any of their numbers is read.

Nothing here imports torch: ``inspect`` reads a few gates out of a large file and must not wait for
it. :mod:`ssn_prune.checkpoint.tensors` turns them into torch tensors.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass

# By name of the dtype: bytes per element, and struct's code; "" where struct has none.
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


_GAPS = 1 << 16  # elements between those of a view that are read along with them


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

    def fill(self, buffer: memoryview) -> None:
        """Write all of its bytes into ``buffer``, which has its size.

        Raises:
            CheckpointError: The file changed or ends too early.
        """
        buffer[:] = self.read(0, self.size)


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A view of a storage; every element was found to lie inside it.

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

    def nbytes(self) -> int:
        """Size of its elements in bytes."""
        return self.numel() * DTYPES[self.dtype][0]

    def is_floating_point(self) -> bool:
        """Whether it holds real numbers rather than integers or flags."""
        return self.dtype.startswith(("float", "bfloat"))

    def numbers(self) -> list[float]:
        """All elements in the order of the axes; for small tensors.

        Raises:
            CheckpointError: The file changed or is damaged.
        """
        places = [self.offset]
        for size, step in zip(self.shape, self.stride, strict=True):
            places = [place + i * step for place in places for i in range(size)]
        if not places:
            return []
        first, last = min(places), max(places)
        if last - first > len(places) + _GAPS:
            return [number for place in places for number in self._span(place, place)]
        values = self._span(first, last)
        return [values[place - first] for place in places]

    def _span(self, first: int, last: int) -> list[float]:
        """The numbers from element ``first`` to ``last`` of the storage."""
        width, code = DTYPES[self.dtype]
        data = self.storage.read(first * width, (last + 1) * width)
        order, count = ">" if self.storage.big_endian else "<", last + 1 - first
        if code == "?":
            return [byte != 0 for byte in data]
        if code:
            return list(struct.unpack(f"{order}{count}{code}", data))
        # A bfloat16 is the upper half of a float32.
        halves = struct.unpack(f"{order}{count}H", data)
        wide = struct.pack(f"<{count}I", *(half << 16 for half in halves))
        return list(struct.unpack(f"<{count}f", wide))


@dataclass(frozen=True, eq=False)
class UnsupportedTensor:
    """A tensor of a kind that no switchable network has, refused where a weight is wanted.

    Attributes:
        kind: What it is, for the message, such as ``"a sparse tensor (layout torch.sparse_coo)"``.
    """

    kind: str
