"""Output files that are either the old ones or complete new ones, never something in between.

A run writes into a folder of its own next to the target, ``.ssn_prune.*.tmp``, and holds a lock on
it. What it wrote is synced to the disk and moved into place, and then the target's folder is
synced. Weights in a separate file come before the model that names them. A run that was killed
leaves its folder behind: the next run with the same target removes it if its lock is free.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ssn_prune.errors import OutputError
from ssn_prune.file_locks import locked, sync, try_lock

# Below protobuf's limit of 2 GiB, with room for the graph itself.
SINGLE_FILE_LIMIT = 2**31 - 2**26
_KINDS = {
    stat.S_ISDIR: "a directory",
    stat.S_ISFIFO: "a named pipe (FIFO)",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a character device",
    stat.S_ISBLK: "a block device",
}


def resolved(target: Path | str) -> Path:
    """The file that a path leads to, also over links to files that do not exist yet."""
    return Path(os.path.realpath(target))


def require_writable(target: Path, *, force: bool) -> None:
    """Find out before the work whether ``target`` can be written.

    Raises:
        OutputError: It exists and ``force`` is off, it is not a regular file, or its folder is
            missing or not writable.
    """
    found = _require_regular(target)
    if found is not None and not force:
        raise OutputError(
            f"{target} exists already",
            expected="a path that does not exist yet",
            found=f"a file of {found.st_size} bytes",
            hint="choose another path, or pass `force=True` to replace the file",
        )
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(
            f"the folder {folder} does not exist",
            expected="an existing folder",
            found="no such folder",
            hint=f"create it: mkdir -p {shlex.quote(str(folder))}",
        )
    # Locked, or another run would remove the probe as a leftover.
    with write_errors(target), locked(folder):
        probe = _private_folder(target)
        try:
            probe.mkdir()
        finally:
            _remove(probe)


def _require_regular(target: Path) -> os.stat_result | None:
    """The status of a regular file; None if there is nothing.

    Raises:
        OutputError: It is something that a file cannot replace, or its links form a cycle.
    """
    with write_errors(target):
        try:
            found = target.stat()
        except FileNotFoundError:
            return None
    if stat.S_ISREG(found.st_mode):
        return found
    kind = next((name for test, name in _KINDS.items() if test(found.st_mode)), "no regular file")
    inside = stat.S_ISDIR(found.st_mode)
    raise OutputError(
        f"{target} is {kind}",
        expected="the path of a file to write",
        found=kind,
        hint=f"name a file in it: {target / 'model.onnx'}"
        if inside
        else "name a file, which is written first and moved to its place when it is complete",
    )


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path of the same name in another folder, and move the file if the block succeeds.

    Resolve links in ``target`` first (:func:`resolved`): a link is followed, not replaced. A
    weights file next to the path is moved along with it. Its name depends on its content (see
    :func:`external_name`), so the old model keeps its old weights until the new one is there.

    If the block fails, everything it wrote is removed and ``target`` stays as it was.

    Raises:
        OutputError: The file cannot be written.
    """
    folder, lock = _private_folder(target), None
    try:
        with write_errors(target), locked(target.parent):
            _remove_leftovers(target)
            folder.mkdir()
            folder.chmod(0o700)  # whatever the umask: this run has to read what it writes
            lock = try_lock(folder)
        yield folder / target.name
        with write_errors(target):
            _publish(folder, target)
    finally:
        _remove(folder)
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def put_back_on_failure(target: Path) -> Iterator[None]:
    """Undo what :func:`replacing` did inside the block, if a later step of the block fails.

    It is for one file of several that belong together.

    Raises:
        OutputError: The old file cannot be kept next to the new one.
    """
    folder, lock = _private_folder(target), None
    old = folder / target.name if target.exists() else None
    try:
        if old is not None:
            with write_errors(target), locked(target.parent):
                folder.mkdir()
                lock = try_lock(folder)  # or another run would remove it as a leftover
                try:
                    old.hardlink_to(target)
                except OSError:  # a file system without hard links
                    shutil.copy2(target, old)
        try:
            yield
        except BaseException:
            if old is None:
                target.unlink(missing_ok=True)
            else:
                old.replace(target)
            raise
    finally:
        _remove(folder)
        if lock is not None:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder of this run, even if an interrupt comes meanwhile."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _publish(folder: Path, target: Path) -> None:
    """Move the files of a folder into the target's folder, the model last."""
    model = folder / target.name
    old = _require_regular(target)
    weights = sorted(path for path in folder.iterdir() if path != model)
    for path in weights:
        sync(path)
    sync(model, None if old is None else stat.S_IMODE(old.st_mode))
    with locked(target.parent):
        before = set(_external_files(target))
        moved = []
        try:
            for path in weights:
                place = target.parent / path.name
                path.replace(place)
                moved.append(place)
            if weights:
                sync(target.parent)
            model.replace(target)
        except BaseException:
            if model.exists():  # not published
                for path in moved:
                    if path not in before:
                        path.unlink(missing_ok=True)
            raise
        sync(target.parent)
        _remove_unreferenced(target)


def _remove_unreferenced(target: Path) -> None:
    """Remove the weights of older models, if possible: the new one is already in place."""
    with contextlib.suppress(OSError):
        old = _external_files(target)
        content = target.read_bytes() if old else b""
        for path in old:
            if os.fsencode(path.name) not in content:
                path.unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Remove the folders of runs that were killed: nobody holds their locks any more."""
    for path in target.parent.glob(f"{_private_prefix(target)}*.tmp"):
        if path.is_dir() and not path.is_symlink():
            # It may be another user's, or gone by now.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                lock = try_lock(path)
                if lock is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(lock)


def _private_folder(target: Path) -> Path:
    return target.parent / f"{_private_prefix(target)}{secrets.token_hex(8)}.tmp"


def _private_prefix(target: Path) -> str:
    """The start of its name: the same for every run with this target, and short for any name."""
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return f".ssn_prune.{digest}."


def bounded_text(path: Path, limit: int) -> str:
    """The text of a user's file: a regular one, in UTF-8, of at most ``limit`` bytes.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: It is larger, or not text.
    """
    if path.exists() and not path.is_file():  # opening a FIFO would wait
        raise OSError("no regular file")
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit} bytes")
    return content.decode("utf-8-sig")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def external_name(target: Path, tag: str) -> str:
    """Name of the file that holds the weights of ``target`` when they do not fit inside."""
    return f"{target.name}.{tag}.data"


def _external_files(target: Path) -> list[Path]:
    pattern = re.compile(re.escape(target.name) + r"\.[0-9a-f]{16}\.data")
    return sorted(path for path in target.parent.iterdir() if pattern.fullmatch(path.name))


@contextlib.contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Turn the operating system's errors into :class:`OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written",
            expected="a writable folder with enough space",
            found=error.strerror or str(error),
            hint=_CURES.get(error.errno or 0, "choose another path"),
        ) from error


_CURES = {
    errno.ENOENT: "the folder is gone: create it again, or choose a path in another one",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or choose another disk",
    errno.ENOSPC: "free space on that disk, or choose a path on another one",
    errno.EDQUOT: "free space within your quota, or choose a path on another disk",
    errno.EROFS: "choose a path on a disk that can be written to",
    errno.EACCES: "choose a folder that you may write to, or change its permissions",
    errno.EPERM: "choose a folder that you may write to, or change its permissions",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or close some",
    errno.ENFILE: "close programs that hold many files open",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links go in circles: choose another path",
    errno.EWOULDBLOCK: "wait for the other process, or choose another folder",
    errno.EIO: "the disk reports a fault: choose a path on another one",
}
