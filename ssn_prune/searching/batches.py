"""The images of one purpose, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ssn_prune.accuracy.per_image import PerImage, score
from ssn_prune.images.image_set import ImageSet
from ssn_prune.surgery.nested import tensor_leaves


@dataclass(frozen=True)
class Batches:
    """Images in batches of about equal size.

    Attributes:
        images: Where they are from.
        indices: Of each batch.
        device: Where the network is.
    """

    images: ImageSet
    indices: tuple[tuple[int, ...], ...]
    device: torch.device

    @classmethod
    def of(
        cls, images: ImageSet, indices: Sequence[int], size: int, device: torch.device
    ) -> Batches:
        """Split images into batches of at most ``size``."""
        count = max(1, -(-len(indices) // size))
        ends = [len(indices) * part // count for part in range(count + 1)]
        parts = (tuple(indices[a:b]) for a, b in pairwise(ends))
        return cls(images, tuple(part for part in parts if part), device)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(map(len, self.indices))

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Inputs of one call, on the device."""
        return tuple(t.to(self.device) for t in self.images.inputs(self.indices[batch]))

    def score(self, batch: int, outputs: Any) -> PerImage:
        """What is right of the outputs for a batch.

        Raises:
            DataError: The labels do not fit the outputs.
        """
        targets = self.images.targets(self.indices[batch])
        return score(tensor_leaves(outputs)[0].cpu(), targets, self.images.kind)
