"""The images for one purpose, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ssn_prune.accuracy.per_image import PerImage, score
from ssn_prune.images.image_set import ImageSet, TargetKind
from ssn_prune.searching.divergence import floating_outputs
from ssn_prune.searching.moving import moved

_SHIFT, _SCALE = 0.05, 0.08


@dataclass(frozen=True)
class Batches:
    """Images in batches of about equal size, the largest ones first.

    Attributes:
        images: The set that they come from.
        indices: The indices of the images in each batch.
        device: The device of the network.
        unfamiliar: Whether inputs that can move are shifted and scaled slightly, each always in the
            same way. A network has memorised its training images, so hardly any change makes it
            give another class. Moved images show how it does on unseen ones. Label maps would have
            to move, too, so images with maps stay as they are.
    """

    images: ImageSet
    indices: tuple[tuple[int, ...], ...]
    device: torch.device
    unfamiliar: bool = False

    @classmethod
    def of(
        cls,
        images: ImageSet,
        indices: Sequence[int],
        size: int,
        device: torch.device,
        *,
        unfamiliar: bool = False,
    ) -> Batches:
        """Split images into batches of at most ``size``, with the largest ones first."""
        count = max(1, -(-len(indices) // size))
        ends = [-(-len(indices) * part // count) for part in range(count + 1)]
        parts = (tuple(indices[a:b]) for a, b in pairwise(ends))
        found = tuple(part for part in parts if part)
        moving = unfamiliar and images.kind is not TargetKind.MAPS
        return cls(images, found, device, moving)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(map(len, self.indices))

    def names(self, batch: int) -> list[str]:
        """The names of the images of a batch."""
        return [self.images.names[index] for index in self.indices[batch]]

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        """The inputs of a batch, on the device."""
        found = self.images.inputs(self.indices[batch])
        if self.unfamiliar:
            generator = torch.Generator().manual_seed(self.indices[batch][0])
            found = moved(found, _SHIFT, _SCALE, generator)
        return tuple(tensor.to(self.device) for tensor in found)

    def score(self, batch: int, outputs: Any) -> PerImage:
        """Score the outputs of a batch against its labels.

        Raises:
            DataError: The labels do not fit the outputs.
        """
        targets = self.images.targets(self.indices[batch])
        return score(floating_outputs(outputs)[0].cpu(), targets, self.images.kind)
