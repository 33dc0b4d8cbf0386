"""Random images with random labels, as a set of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssn_prune.images.image_set import TargetKind

CLASSES = 4


class Noise:
    """Random images with random labels."""

    source = "noise"
    preprocessing = None
    classes = ()

    def __init__(self, count: int = 24, kind: TargetKind = TargetKind.CLASSES) -> None:
        generator = torch.Generator().manual_seed(1)
        self.kind = kind
        self.pictures = torch.randn(count, 3, 8, 8, generator=generator)
        self.pictures += torch.randn(count, 3, 1, 1, generator=generator)  # instances differ
        self.labels = torch.randint(CLASSES, (count,), generator=generator)
        self.names = tuple(map(str, range(count)))

    def __len__(self) -> int:
        return len(self.names)

    def inputs(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        return (self.pictures[list(indices)],)

    def pixels(self, indices: Sequence[int]) -> Tensor | None:
        return None

    def targets(self, indices: Sequence[int]) -> Tensor | None:
        return None if self.kind is TargetKind.NONE else self.labels[list(indices)]

    def preview(self, index: int) -> bytes | None:
        return None
