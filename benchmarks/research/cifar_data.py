"""A balanced part of CIFAR-10 from a zip of JPEG files in ImageFolder layout, and augmentation."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CLASSES = 10
SIZE = 32
_PADDING = 4


@dataclass(frozen=True)
class Images:
    """Images (N, 3, 32, 32), uint8, with labels (N,), int64; sorted by class, then by name."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def read_images(archive: Path, count: int) -> Images:
    """Read the first ``count / 10`` images of each class, in the order of their names.

    Args:
        archive: A zip with one folder per class.
        count: Number of images, a multiple of 10.

    Raises:
        ValueError: The archive does not have ten classes with that many images, or ``count`` is
            not a multiple of 10.
    """
    if count < CLASSES or count % CLASSES:
        raise ValueError(f"the number of images must be a multiple of {CLASSES}, got {count}")
    pixels, labels = [], []
    with zipfile.ZipFile(archive) as stored:
        members: dict[str, list[str]] = {}
        for name in sorted(stored.namelist()):
            if name.lower().endswith((".jpg", ".jpeg", ".png")):
                members.setdefault(PurePosixPath(name).parent.name, []).append(name)
        share = count // CLASSES
        if len(members) != CLASSES or min(map(len, members.values())) < share:
            found = ", ".join(f"{name} {len(files)}" for name, files in members.items())
            raise ValueError(f"{archive} has not {CLASSES} classes of {share} images: {found}")
        for label, name in enumerate(sorted(members)):
            for member in members[name][:share]:
                image = Image.open(io.BytesIO(stored.read(member))).convert("RGB")
                pixels.append(np.asarray(image))
                labels.append(label)
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return Images(stacked, torch.tensor(labels))


class Normalization:
    """Per-channel normalization with the mean and standard deviation of the training images."""

    def __init__(self, images: Images) -> None:
        values = images.pixels.double() / 255
        var, mean = torch.var_mean(values, (0, 2, 3), keepdim=True, correction=0)
        self.mean, self.std = mean.float(), var.sqrt().float()

    def __call__(self, pixels: Tensor) -> Tensor:
        """From uint8 (N, 3, H, W) to float32."""
        return (pixels.float() / 255 - self.mean) / self.std


class TrainingBatches:
    """Shuffled, cropped and flipped batches; the last incomplete one of an epoch is left out.

    A generator of its own makes the order of the images and their augmentation depend on the seed
    and the batch size only, so that all norms see the same batches.
    """

    def __init__(self, images: Images, batch: int, normalize: Normalization, seed: int) -> None:
        if len(images) < batch:
            raise ValueError(f"a batch of {batch} needs more than {len(images)} images")
        self._padded = torch.nn.functional.pad(images.pixels, [_PADDING] * 4)
        self._labels = images.labels
        self._batch = batch
        self._normalize = normalize
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._labels) // self._batch

    def epoch(self) -> list[Tensor]:
        """The indices of the images of each batch of a new epoch."""
        order = torch.randperm(len(self._labels), generator=self._generator)
        return list(order[: len(self) * self._batch].split(self._batch))

    def load(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized inputs (B, 3, 32, 32) and labels (B,)."""
        count = len(indices)
        span = torch.arange(SIZE)
        shift = torch.randint(0, 2 * _PADDING + 1, (2, count, 1), generator=self._generator)
        flip = torch.rand(count, 1, generator=self._generator) < 0.5
        rows = shift[0] + span
        columns = shift[1] + torch.where(flip, span.flip(0), span)
        cropped = self._padded[
            indices[:, None, None, None],
            torch.arange(3)[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]
        return self._normalize(cropped), self._labels[indices]
