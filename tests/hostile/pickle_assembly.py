"""Pickles written opcode by opcode, so that they can say what no pickler would.

Every function returns bytes that push one value when they are run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
MARK, STOP, REDUCE, BUILD, TUPLE = b"(", b".", b"R", b"b", b"t"
EMPTY_LIST, EMPTY_DICT, EMPTY_TUPLE, EMPTY_SET = b"]", b"}", b")", b"\x8f"
APPEND, APPENDS, SETITEM, SETITEMS, POP, DUP = b"a", b"e", b"s", b"u", b"0", b"2"
BINPERSID, NEWOBJ, NEWOBJ_EX, STACK_GLOBAL, OBJ = b"Q", b"\x81", b"\x92", b"\x93", b"o"


def put(index: int) -> bytes:
    """Store the top of the stack in the memo."""
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    """A value of the memo."""
    return b"j" + struct.pack("<I", index)


def text(value: str) -> bytes:
    """Text; lone surrogates are written as they are."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """An integer."""
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(data) < 256:
        return b"\x8a" + bytes([len(data)]) + data
    return b"\x8b" + struct.pack("<i", len(data)) + data


def real(value: float) -> bytes:
    """A floating-point number."""
    return b"G" + struct.pack(">d", value)


def name(module: str, qualified: str) -> bytes:
    """A global."""
    return f"c{module}\n{qualified}\n".encode()


def stack_name(module: str, qualified: str) -> bytes:
    """A global by the opcode of protocol 4."""
    return text(module) + text(qualified) + STACK_GLOBAL


def several(*items: bytes) -> bytes:
    """A tuple."""
    return MARK + b"".join(items) + TUPLE


def listing(*items: bytes) -> bytes:
    """A list."""
    return EMPTY_LIST + MARK + b"".join(items) + APPENDS


def mapping(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A dict."""
    return EMPTY_DICT + MARK + b"".join(key + value for key, value in pairs) + SETITEMS


def call(function: bytes, *arguments: bytes) -> bytes:
    """The result of a call."""
    return function + several(*arguments) + REDUCE


def construct(kind: bytes, *arguments: bytes, state: bytes | None = None) -> bytes:
    """An object made by ``__new__``, and by ``__setstate__`` if there is a state."""
    return kind + several(*arguments) + NEWOBJ + (b"" if state is None else state + BUILD)


def program(body: bytes, protocol: int = 2) -> bytes:
    """A whole pickle."""
    return b"\x80" + bytes([protocol]) + body + STOP


ORDERED = call(name("collections", "OrderedDict"))


def tensor(
    key: str,
    count: int,
    shape: tuple[int, ...],
    *,
    stride: tuple[int, ...] | None = None,
    offset: int = 0,
    storage: str = "FloatStorage",
    location: str = "cpu",
    view: bytes = b"",
) -> bytes:
    """A tensor as ``torch.save`` writes it.

    Args:
        key: Key of the storage.
        count: Number of elements in the storage.
        shape: Shape of the tensor.
        stride: Strides; those of a contiguous tensor if None.
        offset: Index of the first element.
        storage: Name of torch's storage class.
        location: Device tag.
        view: Further items of the persistent id; None in the legacy layout.
    """
    identity = several(
        text("storage"), name("torch", storage), text(key), text(location), number(count), view
    )
    return rebuilt(identity + BINPERSID, shape, stride or contiguous(shape), offset)


def rebuilt(storage: bytes, shape: Iterable[int], stride: Iterable[int], offset: int) -> bytes:
    """A call of torch's function that makes a tensor from a storage."""
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage,
        number(offset),
        several(*map(number, shape)),
        several(*map(number, stride)),
        FALSE,
        ORDERED,
    )


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous tensor."""
    steps = [1]
    for size in reversed(shape[1:]):
        steps.append(steps[-1] * size)
    return tuple(reversed(steps[: len(shape)]))
