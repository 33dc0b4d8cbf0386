"""Files in a folder, in a zip, or in a folder inside a zip, without unpacking anything.

Archives are untrusted: a name is only ever looked up inside, members are read up to a size limit,
and errors name what is damaged.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

from ssn_prune.errors import DataError
from ssn_prune.text import printable, shown

MAX_FILE = 64 << 20
"""Bytes of the largest file that is read."""

_UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # an encrypted member
    ValueError,  # a directory that contradicts itself
)


class FileTree:
    """The files under a folder, a zip, or a folder inside a zip.

    Args:
        path: The path of any of them, such as ``photos.zip/train``.

    Attributes:
        path: The same.
        names: Paths of the files relative to it, sorted; hidden ones are left out. Links to files
            and folders are followed, and a link to nothing is a file that cannot be read.
        folders: Paths of the folders on the first level, sorted, empty ones too.

    Raises:
        DataError: There is nothing at the path, or the zip is empty or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = next((p for p in (path, *path.parents) if p.is_file()), None)
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        self._prefix = ""
        if self._archive is None:
            found = _below(path)
        else:
            if self._archive != path:
                self._prefix = path.relative_to(self._archive).as_posix() + "/"
            stored = self._zip().namelist()
            found = [n.removeprefix(self._prefix) for n in stored if n.startswith(self._prefix)]
        kept = [n for n in found if n and not any(map(_left_out, n.removesuffix("/").split("/")))]
        self.names = sorted(n for n in kept if not n.endswith("/"))
        self.folders = sorted({n.split("/")[0] for n in kept if "/" in n})
        if not kept and (self._archive is not None or not path.is_dir()):
            raise self._nothing()

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            DataError: It is damaged, or larger than :data:`MAX_FILE`.
        """
        try:
            if self._archive is None:
                with (self.path / name).open("rb") as file:
                    data = file.read(MAX_FILE + 1)
            else:
                with self._zip().open(self._prefix + name) as file:
                    data = file.read(MAX_FILE + 1)
        except _UNREADABLE as error:
            raise unreadable(self.path, name, str(error) or type(error).__name__) from error
        if len(data) > MAX_FILE:
            raise unreadable(self.path, name, f"more than {MAX_FILE >> 20} MB")
        return data

    def _zip(self) -> zipfile.ZipFile:
        # Opened in every worker of a DataLoader: processes that share an open file would move
        # each other's position in it.
        if self._opened is None or self._opened[0] != os.getpid():
            assert self._archive is not None
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self._archive)
            except _UNREADABLE as error:
                raise no_images(self.path, f"a file that is no whole zip: {error}") from error
        return self._opened[1]

    def _nothing(self) -> DataError:
        if self._archive is None:
            return no_images(self.path, "nothing there")
        if self._archive == self.path:
            return no_images(self.path, "an empty zip")
        inside = [str(self._archive / name) for name in FileTree(self._archive).folders]
        return no_images(self.path, "no such folder in the zip", inside)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def exists(path: Path) -> bool:
    """Whether there is such a folder, on the disk or inside a zip."""
    try:
        FileTree(path)
    except DataError:
        return False
    return True


def no_images(path: Path, found: str, others: list[str] | None = None) -> DataError:
    """The error for a place without images; ``others`` are places that may have been meant."""
    near = [printable(other) for other in (others or [])[:4]]
    return DataError(
        f"{printable(str(path))} holds no images, or more than one set of them",
        expected="a folder, a zip, or a folder inside a zip (photos.zip/test), with .jpg, .png, "
        ".webp or .bmp files; or arrays (.npz), or package.module:loader",
        found=printable(found),
        hint=f"give {' or '.join(near)}" if near else "check the path",
    )


def unreadable(path: Path, name: str, found: str) -> DataError:
    """The error for a damaged file."""
    return DataError(
        f"{printable(str(path))}: {shown(name)} cannot be read",
        expected="a whole JPEG, PNG, WebP or BMP file",
        found=printable(found),
        hint="replace or remove it",
    )


def _below(path: Path) -> list[str]:
    """All files below a folder, and all folders, with a slash at their end.

    A folder is entered once on each way to it, so a link to a folder that it is in leads nowhere.
    """
    found: list[str] = []
    inside = {str(path): ("", frozenset([os.path.realpath(path)]))}
    for folder, folders, files in os.walk(path, followlinks=True):
        prefix, above = inside.pop(folder)
        entered = []
        for name in folders:
            below = os.path.join(folder, name)
            real = os.path.realpath(below)
            if not _left_out(name) and real not in above:
                entered.append(name)
                inside[below] = f"{prefix}{name}/", above | {real}
        folders[:] = entered
        found += [f"{prefix}{name}/" for name in entered]
        found += [
            f"{prefix}{name}"
            for name in files
            if os.path.isfile(place := os.path.join(folder, name)) or not os.path.exists(place)
        ]
    return found


def _left_out(part: str) -> bool:
    """Whether a part of a path is hidden (macOS archives hide a file per image) or leads out."""
    return not part or part.startswith(".") or part == "__MACOSX"
