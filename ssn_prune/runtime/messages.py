"""Messages between this process and the one that runs files: one line of JSON, then arrays.

Arrays are plain numbers. Nothing is unpickled, because what the other process sends can be trusted
no more than the file that it runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np

_LONGEST_LINE = 64 << 20
KINDS_OF_NUMBERS = "biuf"


def send(stream: IO[bytes], content: Mapping[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Write a message.

    Args:
        stream: Where it is written.
        content: A value for ``json.dumps``.
        arrays: Arrays of numbers.
    """
    described = [[array.dtype.str, array.shape] for array in arrays]
    stream.write(json.dumps({"content": content, "arrays": described}).encode() + b"\n")
    for array in arrays:
        stream.write(_bytes_of(np.ascontiguousarray(array)))
    stream.flush()


def receive(stream: IO[bytes], most: int | None = None) -> tuple[Any, list[np.ndarray]]:
    """Read a message.

    Args:
        stream: Where it is read.
        most: Most bytes that its arrays may have in all.

    Raises:
        EOFError: The other process has ended.
        ValueError: It is not a message. A message without its fields raises other errors.
        MemoryError: Its arrays are larger than allowed.
    """
    line = stream.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    described = [(np.dtype(kind), tuple(shape)) for kind, shape in message["arrays"]]
    size = sum(dtype.itemsize * math.prod(shape) for dtype, shape in described)
    if most is not None and size > most:
        raise MemoryError(f"{size} bytes")
    arrays = []
    for dtype, shape in described:
        if dtype.kind not in KINDS_OF_NUMBERS:
            raise ValueError(f"an array of {dtype}")
        array = np.empty(shape, dtype)
        _fill(stream, _bytes_of(array))
        arrays.append(array)
    return message["content"], arrays


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _fill(stream: IO[bytes], buffer: memoryview) -> None:
    done = 0
    while done < len(buffer):
        count = stream.readinto(buffer[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
