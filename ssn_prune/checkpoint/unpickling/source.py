"""Reads the arguments of instructions from a stream, and never more than is there."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from ssn_prune.checkpoint.unpickling.errors import PickleError, TooLargeError, TruncatedError
from ssn_prune.text import without_surrogates

_LONGEST_NUMBER = 700  # digits; an integer of 255 bytes has 615
_LONGEST_INTEGER = 255  # bytes, the most that LONG1 can state
_LONGEST_TEXT = 16 << 20  # bytes; in memory a text may take four times as much
_LONGEST_BYTES = 64 << 20
_DECIMAL = re.compile(rb"[+-]?[0-9]+")


class Source:
    """The bytes of one pickle.

    Args:
        stream: Starts where the pickle does.

    Attributes:
        position: Bytes read so far.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._read = stream.read
        self._readline = stream.readline
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        data = self._read(size)
        self.position += size
        if len(data) != size:
            raise TruncatedError("the data ends in the middle of a pickle")
        return data

    def skip(self, size: int) -> None:
        """Drop the next ``size`` bytes."""
        self.take(size)

    def unsigned(self, width: int) -> int:
        """An unsigned integer of ``width`` bytes, least significant first."""
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        """A signed integer of ``width`` bytes, least significant first."""
        return int.from_bytes(self.take(width), "little", signed=True)

    def sized(self, width: int) -> bytes:
        """Bytes that follow their length, which takes ``width`` bytes."""
        return self._piece(self.unsigned(width), _LONGEST_BYTES)

    def text(self, width: int) -> str:
        """UTF-8 text that follows its length, which takes ``width`` bytes."""
        return decoded(self._piece(self.unsigned(width), _LONGEST_TEXT))

    def long(self, width: int) -> int:
        """A signed integer that follows its length, which takes ``width`` bytes."""
        size = self.unsigned(width)
        if size > _LONGEST_INTEGER:
            raise TooLargeError(f"an integer of {size} bytes")
        return self.signed(size)

    def double(self) -> float:
        """A float64 of eight bytes, most significant first."""
        value: float = struct.unpack(">d", self.take(8))[0]
        return value

    def line(self) -> bytes:
        """Everything up to the next end of line, which is dropped."""
        data = self._readline(_LONGEST_TEXT)
        self.position += len(data)
        if data.endswith(b"\n"):
            return data[:-1]
        if len(data) == _LONGEST_TEXT:
            raise TooLargeError(f"a line of more than {len(data)} bytes")
        raise TruncatedError("the data ends in the middle of a pickle")

    def name(self) -> str:
        """A line that names a module or one of its members."""
        return decoded(self.line().removesuffix(b"\r"))

    def decimal(self) -> int:
        """A line with an integer, which may end with an L."""
        line = self._number_line().removesuffix(b"L")
        if not _DECIMAL.fullmatch(line):
            raise PickleError("a line is no integer")
        return int(line)

    def boolean_or_decimal(self) -> int | bool:
        """A line with an integer, where 00 and 01 stand for False and True."""
        line = self._number_line()
        if line in (b"00", b"01"):
            return line == b"01"
        if not _DECIMAL.fullmatch(line):
            raise PickleError("a line is no integer")
        return int(line)

    def real(self) -> float:
        """A line with a floating-point number."""
        line = self._number_line()
        try:
            return float(line)
        except ValueError:
            raise PickleError("a line is no number") from None

    def _piece(self, size: int, most: int) -> bytes:
        if size > most:
            raise TooLargeError(f"{size} bytes in one piece, of at most {most}")
        return self.take(size)

    def _number_line(self) -> bytes:
        line = self.line()
        if len(line) > _LONGEST_NUMBER:
            raise TooLargeError(f"a number of {len(line)} digits")
        return line.strip()


def decoded(data: bytes) -> str:
    """Text from UTF-8; lone surrogates become escapes, so that every text can be printed."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return without_surrogates(_with_surrogates(data))


def _with_surrogates(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise PickleError("text that is not UTF-8") from None
