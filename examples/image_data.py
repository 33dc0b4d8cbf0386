"""Images for the training examples, from a folder or straight from a zip file.

``photos/``, ``photos.zip`` and ``photos.zip/train`` (a folder inside the zip) all work; nothing is
unpacked.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ssn_prune.errors import ArgumentError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

Item = TypeVar("Item")


class Files:
    """The image files under a folder or inside a zip.

    Args:
        path: A folder, a zip, or a folder inside a zip.

    Attributes:
        names: Paths of the images relative to ``path``, sorted.

    Raises:
        ArgumentError: There is no such folder or zip, or no image in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = next((p for p in (path, *path.parents) if p.is_file()), None)
        self._prefix = ""
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        if self._archive is None:
            found = sorted(p for p in path.rglob("*") if p.is_file())
            names = [p.relative_to(path).as_posix() for p in found]
        else:
            if self._archive != path:
                self._prefix = path.relative_to(self._archive).as_posix() + "/"
            if not zipfile.is_zipfile(self._archive):
                raise _no_images(path, "a file that is not a zip")
            stored = self._zip().namelist()
            names = [n.removeprefix(self._prefix) for n in stored if n.startswith(self._prefix)]
        images = [n for n in names if n.lower().endswith(_SUFFIXES)]
        # Archives made on a Mac hold a second, hidden file for every image.
        self.names = sorted(n for n in images if not PurePosixPath(n).name.startswith("."))
        if not self.names:
            raise _no_images(path, "no image" if self._archive or path.is_dir() else "nothing")

    def image(self, name: str) -> Image.Image:
        """Read one image.

        Raises:
            ArgumentError: It cannot be decoded.
        """
        if self._archive is None:
            data = (self.path / name).read_bytes()
        else:
            data = self._zip().read(self._prefix + name)
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
        except OSError as error:
            raise ArgumentError(
                f"{self.path}: {name} cannot be read as an image",
                expected="a whole JPEG, PNG, WebP or BMP file",
                found=str(error),
                hint="replace or remove it",
            ) from error
        return image

    def _zip(self) -> zipfile.ZipFile:
        # Opened in every worker of a DataLoader: processes that share an open file would move
        # each other's position in it.
        if self._opened is None or self._opened[0] != os.getpid():
            assert self._archive is not None
            self._opened = os.getpid(), zipfile.ZipFile(self._archive)
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


class ClassFolders(Dataset[tuple[Tensor, int]]):
    """Labelled images in the layout of ImageFolder: the folder of an image is its class.

    Args:
        path: See :class:`Files`.
        transform: From a PIL image in RGB to a tensor.
        limit: Number of images to use, spread evenly over all; None for all.
        classes: The classes that must be there; None for whatever is.

    Attributes:
        classes: Names of the classes; a label is an index into them.

    Raises:
        ArgumentError: There is no image, or the classes are others.
    """

    def __init__(
        self,
        path: Path,
        transform: Callable[[Image.Image], Tensor],
        limit: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self._files = Files(path)
        self._transform = transform
        found = sorted({str(PurePosixPath(name).parent) for name in self._files.names})
        self.classes = list(classes or found)
        if found != self.classes:
            raise ArgumentError(
                f"{path} has other classes than the training images",
                expected=f"{len(self.classes)} folders: {', '.join(self.classes[:5])}, ...",
                found=f"{len(found)} folders: {', '.join(found[:5])}, ...",
                hint="give two folders or zips with the same class folders",
            )
        self._names = spread(self._files.names, limit)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        name = self._names[index]
        image = self._files.image(name).convert("RGB")
        return self._transform(image), self.classes.index(str(PurePosixPath(name).parent))


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` of the items, evenly spaced, so that a sorted list keeps all classes."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def training_transform(size: int, *, cifar: bool) -> Callable[[Image.Image], Tensor]:
    """Augmentation: random resized crop and flip; for CIFAR shifts by up to 4 pixels and flip.

    Args:
        size: Height and width of the result (3, size, size), normalized.
        cifar: Small images whose objects fill them: no random scale.
    """
    crop: list[Any] = [v2.RandomResizedCrop(size)]
    if cifar:
        crop = [v2.Resize((size, size)), v2.RandomCrop(size, padding=4)]
    return v2.Compose([*crop, v2.RandomHorizontalFlip(), *_to_tensor()])


def validation_transform(size: int, *, cifar: bool) -> Callable[[Image.Image], Tensor]:
    """The central crop of 7/8 of the shorter side; the whole image for CIFAR."""
    crop: list[Any] = [v2.Resize(size * 8 // 7), v2.CenterCrop(size)]
    if cifar:
        crop = [v2.Resize((size, size))]
    return v2.Compose([*crop, *_to_tensor()])


def _to_tensor() -> list[Any]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def _no_images(path: Path, found: str) -> ArgumentError:
    return ArgumentError(
        f"{path} holds no images",
        expected="a folder, a zip, or a folder inside a zip (photos.zip/train), with "
        + ", ".join(_SUFFIXES),
        found=found,
        hint="check the path",
    )
