"""Images for the training examples, read as ``ssn-prune verify --data`` reads them.

``photos/``, ``photos.zip`` and ``photos.zip/train`` (a folder inside the zip) all work; nothing is
unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ssn_prune.errors import ArgumentError
from ssn_prune.images.decoding import decoded
from ssn_prune.images.image_set import spread_evenly
from ssn_prune.images.layouts import layout_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in [0, 1]


class ClassFolders(Dataset[tuple[Tensor, int]]):
    """Labelled images in the layout of ImageFolder: the folder of an image is its class.

    Args:
        path: A folder, a zip, or a folder inside a zip.
        transform: From a PIL image in RGB to a tensor.
        limit: Number of images to use, spread evenly over all; None for all.
        classes: The classes that must be there; None for whatever is.

    Attributes:
        classes: Names of the classes; a label is an index into them.

    Raises:
        DataError: There is no image.
        ArgumentError: The classes are others, or there are none.
    """

    def __init__(
        self,
        path: Path,
        transform: Callable[[Image.Image], Tensor],
        limit: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self._layout = layout_of(path)
        self._transform = transform
        found = list(self._layout.classes)
        self.classes = list(classes or found)
        if found != self.classes or not found:
            raise ArgumentError(
                f"{path} has other classes than the training images",
                expected=f"{len(self.classes)} folders: {', '.join(self.classes[:5])}, ...",
                found=f"{len(found)} folders: {', '.join(found[:5])}, ...",
                hint="give two folders or zips with the same class folders",
            )
        self._indices = spread_evenly(len(self._layout.names), limit)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        place = self._indices[index]
        image = decoded(self._layout.files, self._layout.names[place]).convert("RGB")
        return self._transform(image), self._layout.labels[place]


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
