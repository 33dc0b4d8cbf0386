"""Output files that are either the old ones or complete new ones, never something in between."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ssn_prune.errors import OutputError

# Below protobuf's limit of 2 GiB, with room for the graph itself.
SINGLE_FILE_LIMIT = 2**31 - 2**26


def resolved(target: Path | str) -> Path:
    """The file that a path means, following links, also ones to files that do not exist yet."""
    return Path(os.path.realpath(target))


def require_writable(target: Path, *, force: bool) -> None:
    """Find out before the work whether ``target`` can be written.

    Raises:
        OutputError: It exists and ``force`` is off, it is a directory, or its folder is missing or
            not writable.
    """
    if target.is_dir():
        raise OutputError(
            f"{target} is a directory",
            expected="the path of a file to write",
            found="a directory",
            hint=f"name a file in it: {target / 'model.onnx'}",
        )
    if target.exists() and not force:
        raise OutputError(
            f"{target} exists already",
            expected="a path that does not exist yet",
            found=f"a file of {target.stat().st_size} bytes",
            hint="choose another path, or pass `force=True` to replace the file",
        )
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(
            f"the folder {folder} does not exist",
            expected="an existing folder",
            found="no such folder",
            hint=f"create it: mkdir -p {folder}",
        )
    with write_errors(target), tempfile.TemporaryFile(dir=folder):
        pass


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target`` and move it there if the block succeeds.

    Resolve links in ``target`` before (:func:`resolved`): a link is followed, not replaced.

    If the block fails, everything it wrote is removed and ``target`` stays as it was. Weights in a
    separate file get a name of their own (see :func:`external_name`), so the old model keeps its
    old weights until the one rename that publishes the new one.

    Raises:
        OutputError: The file cannot be written.
    """
    with write_errors(target):
        before = _external_files(target)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with write_errors(target):
            # mkstemp makes private files; the result gets the permissions of any new file.
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            temporary.replace(target)
    except BaseException:
        if temporary.exists():  # not published
            temporary.unlink()
            for path in _external_files(target):
                if path not in before:
                    path.unlink(missing_ok=True)
        raise
    for path in before:
        if not _is_referenced(target, path):
            path.unlink(missing_ok=True)


def external_name(target: Path, tag: str) -> str:
    """Name of the file that holds the weights of ``target`` when they do not fit inside."""
    return f"{target.name}.{tag}.data"


def _external_files(target: Path) -> list[Path]:
    pattern = re.compile(re.escape(target.name) + r"\.[0-9a-f]{16}\.data")
    return sorted(path for path in target.parent.iterdir() if pattern.fullmatch(path.name))


def _is_referenced(target: Path, weights: Path) -> bool:
    return weights.name.encode() in target.read_bytes()


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
            hint="choose another path, or free space and check the permissions",
        ) from error
