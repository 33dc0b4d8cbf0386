"""Storages that lie in an open file, verified when they are read."""

from __future__ import annotations

import zlib

from ssn_prune.checkpoint.input_file import InputFile
from ssn_prune.checkpoint.stored import Storage
from ssn_prune.errors import CheckpointError


class FileStorage(Storage):
    """A part of a file.

    Args:
        file: The open file.
        start: Where it begins.
        size: Number of bytes.
        checksum: Its CRC-32, verified over the whole part when any of it is read; None if the
            format has none.
        label: Its name in the file, for messages.
        big_endian: Whether its bytes are in big-endian order.

    Attributes:
        start: Where it begins; may be set later, by formats that state it at their end.
    """

    def __init__(
        self,
        file: InputFile,
        start: int,
        size: int,
        *,
        label: str,
        checksum: int | None = None,
        big_endian: bool = False,
    ) -> None:
        self.size = size
        self.big_endian = big_endian
        self._file, self.start, self._label = file, start, label
        self._unchecked = checksum

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``, after the whole part was found intact."""
        if self._unchecked is not None and (start, stop) != (0, self.size):
            crc = 0
            for part in self._file.chunks(self.start, self.start + self.size):
                crc = zlib.crc32(part, crc)
            self._require(crc)
        data = self._file.read(self.start + start, self.start + stop)
        if self._unchecked is not None:
            self._require(zlib.crc32(data))
        return data

    def fill(self, buffer: memoryview) -> None:
        """Write all of its bytes into ``buffer`` and verify them."""
        self._file.fill(self.start, buffer)
        if self._unchecked is not None:
            self._require(zlib.crc32(buffer))

    def _require(self, crc: int) -> None:
        if crc != self._unchecked:
            raise CheckpointError(
                f"{self._file.path} is damaged: the checksum of {self._label} is wrong",
                expected=f"CRC-32 {self._unchecked:08x}",
                found=f"{crc:08x} over its {self.size} bytes",
                hint="copy or download the file again; a bit of it changed",
            )
        self._unchecked = None


class Window(Storage):
    """A part of another storage, which stays shared with it."""

    def __init__(self, base: Storage, start: int, size: int) -> None:
        self.base, self.start, self.size = base, start, size
        self.big_endian = base.big_endian

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop`` of the part."""
        return self.base.read(self.start + start, self.start + stop)
