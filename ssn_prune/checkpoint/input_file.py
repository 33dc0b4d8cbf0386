"""A file that is opened once, read in parts, and must stay as it is while it is read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ssn_prune.errors import CheckpointError

EXPECTED = "a PyTorch checkpoint (torch.save) or a safetensors file"
SAVE_WEIGHTS = "torch.save(model.state_dict(), path)"  # for hints
CHUNK = 1 << 20


def damaged(path: Path, found: str) -> CheckpointError:
    """The error for a file whose structure contradicts itself."""
    return CheckpointError(
        f"{path} cannot be read: it is damaged, truncated or not a checkpoint",
        expected=EXPECTED,
        found=found,
        hint="copy or download the file again and compare its size with the source",
    )


class InputFile:
    """Random access to an open file.

    Attributes:
        path: Its path.
        size: Number of bytes.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._identity = self._now()
        self.size = self._identity[0]

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``.

        Raises:
            CheckpointError: They lie outside of the file, or the file changed.
        """
        buffer = bytearray(self._inside(start, stop))
        self.fill(start, memoryview(buffer))
        return bytes(buffer)

    def fill(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer``, of single bytes, with the bytes from ``start`` on.

        Raises:
            CheckpointError: The file is too short, cannot be read, or changed.
        """
        self._inside(start, start + len(buffer))
        done = 0
        try:
            self._file.seek(start)
            while done < len(buffer):
                count = self._file.readinto(buffer[done : done + CHUNK])  # type: ignore[attr-defined]
                if not count:
                    raise self._changed()
                done += count
        except OSError as error:
            raise _unreadable(self.path, error) from error
        self.require_unchanged()

    def chunks(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes from ``start`` to ``stop`` in parts, each valid until the next is asked for.

        Raises:
            CheckpointError: They lie outside of the file, or the file changed.
        """
        self._inside(start, stop)
        buffer = memoryview(bytearray(min(CHUNK, stop - start)))
        for place in range(start, stop, CHUNK):
            part = buffer[: min(CHUNK, stop - place)]
            self.fill(place, part)
            yield part

    def sha256(self) -> str:
        """Hash of the whole file, computed now.

        Raises:
            CheckpointError: The file cannot be read, or changed.
        """
        digest = hashlib.sha256()
        for part in self.chunks(0, self.size):
            digest.update(part)
        return digest.hexdigest()

    def require_unchanged(self) -> None:
        """Refuse a file that another process has written to since it was opened.

        Raises:
            CheckpointError: Its size or modification time has changed.
        """
        if self._now() != self._identity:
            raise self._changed()

    def _now(self) -> tuple[int, int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _inside(self, start: int, stop: int) -> int:
        if not 0 <= start <= stop <= self.size:
            raise damaged(self.path, f"{self.size} bytes; it refers to bytes {start} to {stop}")
        return stop - start

    def _changed(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} changed while it was read",
            expected="a file that nothing writes to",
            found=f"another size or modification time than when it was opened ({self.size} bytes)",
            hint="wait until the training has written it, or copy it and read the copy",
        )


@contextmanager
def open_input(path: Path) -> Iterator[InputFile]:
    """Open a regular file.

    Raises:
        CheckpointError: It does not exist, is empty or not a regular file, or cannot be opened.
    """
    try:
        # A FIFO would wait for its writer.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise _another_kind(path, kind)
    with open(descriptor, "rb", buffering=0) as file:
        opened = InputFile(path, file)
        if opened.size == 0:
            raise CheckpointError(
                f"{path} is empty",
                expected=EXPECTED,
                found="0 bytes",
                hint="the file was probably cut off while it was written: copy it again",
            )
        yield opened
        opened.require_unchanged()


def _missing(path: Path) -> CheckpointError:
    near = sorted(p.name for p in path.parent.glob("*.pt*")) if path.parent.is_dir() else []
    return CheckpointError(
        f"{path} does not exist",
        expected=EXPECTED,
        found="no such file",
        hint=f"files in that folder: {', '.join(near[:5])}" if near else "check the path",
    )


def _another_kind(path: Path, kind: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is {kind}", expected=EXPECTED, found=kind, hint="name one regular file"
    )


def _unreadable(path: Path, error: OSError | ValueError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be opened or read",
        expected=EXPECTED,
        found=getattr(error, "strerror", None) or str(error),
        hint="check the path and its permissions",
    )
