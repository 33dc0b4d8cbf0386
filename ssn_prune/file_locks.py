"""Locks on folders, and files that have certainly reached the disk.

Locks and the syncing of folders are those of POSIX. On Windows there are none, and what a killed
run leaves behind stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# EBADF: network file systems may ask for a descriptor that can write, and folders have none.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
_LOCK_SECONDS = 20.0
"""A lock on the target's folder is held for some renames only."""


def try_lock(folder: Path) -> int | None:
    """A descriptor that holds a lock on a folder; None if another process holds it."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another process, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs from publishing in the same folder, if its file system has locks.

    Raises:
        OSError: Another process holds the lock for too long.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise OSError(
                        errno.EWOULDBLOCK, f"another process holds a lock on {folder}"
                    ) from None
                time.sleep(0.02)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                break
        yield
    finally:
        os.close(descriptor)


def sync(path: Path, mode: int | None = None) -> None:
    """Wait until a file or folder is on the disk; set a mode first, which may forbid reading it."""
    if sys.platform == "win32" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if mode is not None:
            path.chmod(mode)
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(descriptor)
