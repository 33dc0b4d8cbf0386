"""NumPy's scalars and arrays, built from the arguments and states in their pickles."""

from __future__ import annotations

import math
import struct

from ssn_prune.checkpoint.stored import Storage, StoredTensor
from ssn_prune.checkpoint.unpickling.errors import PickleError
from ssn_prune.checkpoint.unpickling.python_values import Builder
from ssn_prune.checkpoint.unpickling.values import Inert, NumpyArray, NumpyType

# By NumPy's code: our name of the dtype, and struct's code.
_NUMBERS: dict[str, tuple[str, str]] = {
    "f8": ("float64", "d"),
    "f4": ("float32", "f"),
    "f2": ("float16", "e"),
    "i8": ("int64", "q"),
    "i4": ("int32", "i"),
    "i2": ("int16", "h"),
    "i1": ("int8", "b"),
    "u1": ("uint8", "B"),
    "b1": ("bool", "?"),
    "u2": ("", "H"),
    "u4": ("", "I"),
    "u8": ("", "Q"),
}
_MOST_AXES = 64


class BytesStorage(Storage):
    """Bytes that the pickle itself holds."""

    def __init__(self, data: bytes, big_endian: bool) -> None:
        self._data = data
        self.size = len(data)
        self.big_endian = big_endian

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``."""
        return self._data[start:stop]


def dtype(arguments: tuple[object, ...]) -> NumpyType:
    """``numpy.dtype``: its code and two flags."""
    if not arguments or not isinstance(arguments[0], str):
        raise PickleError("a NumPy dtype without its code")
    return NumpyType(arguments[0])


def complete_dtype(kind: NumpyType, state: object) -> None:
    """Take the byte order, the second item of the state."""
    if not isinstance(state, tuple) or len(state) < 2:
        raise PickleError("a NumPy dtype with a state of another kind")
    kind.big_endian = state[1] == ">" if isinstance(state[1], str) else False


def scalar(arguments: tuple[object, ...]) -> object:
    """``numpy.core.multiarray.scalar``: becomes a Python number; other scalars stay unread."""
    if not arguments or not isinstance(arguments[0], NumpyType):
        raise PickleError("a NumPy scalar without its dtype")
    kind = arguments[0]
    _, code = _NUMBERS.get(kind.code, ("", ""))
    if not code or len(arguments) != 2:
        return Inert("numpy.core.multiarray.scalar")
    data = _raw(arguments[1])
    if len(data) != struct.calcsize("<" + code):
        raise PickleError(f"a NumPy scalar of {len(data)} bytes with the dtype {kind.code}")
    return struct.unpack((">" if kind.big_endian else "<") + code, data)[0]


def empty_array(_: tuple[object, ...]) -> NumpyArray:
    """``_reconstruct``: an array whose content comes later, as its state."""
    return NumpyArray()


def complete_array(array: NumpyArray, state: object) -> None:
    """The state: version, shape, dtype, whether in Fortran order, and the bytes."""
    match state:
        case (int(), tuple() as shape, NumpyType() as kind, fortran, content):
            if not isinstance(content, list):  # a list: objects, which stay unread
                array.tensor = _tensor(content, kind, shape, bool(fortran))
        case _:
            raise PickleError("a NumPy array with a state of another kind")


def array_from_buffer(arguments: tuple[object, ...]) -> NumpyArray:
    """``_frombuffer``: bytes, dtype, shape and order, as protocol 5 writes arrays."""
    match arguments:
        case (bytes() as content, NumpyType() as kind, tuple() as shape, "C" | "F" as order):
            return NumpyArray(_tensor(content, kind, shape, order == "F"))
    raise PickleError("a NumPy array made of something else than bytes, dtype, shape and order")


def _tensor(
    content: object, kind: NumpyType, shape: tuple[object, ...], fortran: bool
) -> StoredTensor | None:
    name, code = _NUMBERS.get(kind.code, ("", ""))
    if not name:
        return None
    if len(shape) > _MOST_AXES:
        raise PickleError(f"a NumPy array of {len(shape)} axes")
    sizes = tuple(size for size in shape if type(size) is int and 0 <= size < 1 << 63)
    data = _raw(content)
    if len(sizes) != len(shape) or len(data) != math.prod(sizes) * struct.calcsize("<" + code):
        raise PickleError(f"a NumPy array of {len(data)} bytes with another shape or dtype")
    ordered = sizes if fortran else sizes[::-1]
    strides = [math.prod(ordered[:axis]) for axis in range(len(ordered))]
    stride = tuple(strides if fortran else strides[::-1])
    return StoredTensor(BytesStorage(data, kind.big_endian), name, sizes, stride, 0)


def _raw(content: object) -> bytes:
    """The bytes; Python 2 wrote them as a string, which was read as text if it is UTF-8."""
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes):
        return content
    raise PickleError("a NumPy object without its bytes")


NUMPY: dict[str, Builder] = {
    "numpy.dtype": dtype,
    "numpy.core.multiarray.scalar": scalar,
    "numpy.core.multiarray._reconstruct": empty_array,
    "numpy.core.numeric._frombuffer": array_from_buffer,
}
