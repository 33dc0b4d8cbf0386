"""Images in files, with the labels that a :class:`~ssn_prune.images.layouts.Layout` finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssn_prune.errors import DataError
from ssn_prune.images.decoding import decoded, small_png
from ssn_prune.images.image_set import TargetKind
from ssn_prune.images.layouts import Layout
from ssn_prune.images.pixels import labels_of, normalized, pixels_of
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.text import printable, shown


@dataclass(frozen=True)
class ImageFiles:
    """An :class:`~ssn_prune.images.image_set.ImageSet` of files.

    Attributes:
        source: Where they are from, as it was given.
        layout: Where they and their labels are.
        preprocessing: How they become inputs.
    """

    source: str
    layout: Layout
    preprocessing: Preprocessing

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the images."""
        return self.layout.names

    @property
    def kind(self) -> TargetKind:
        """What is known about each image."""
        return self.layout.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of class folders."""
        return self.layout.classes

    def __len__(self) -> int:
        return len(self.layout.names)

    def inputs(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Normalized images, float32 (n, C, H, W)."""
        return (normalized(self.pixels(indices), self.preprocessing),)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Images before normalization, uint8 in 0 ... 255, (n, C, H, W)."""
        return torch.stack([self._pixels(index) for index in indices])

    def targets(self, indices: Sequence[int]) -> Tensor | None:
        """Classes (n,), or maps of classes (n, H, W); None if nothing is known."""
        if self.kind is TargetKind.CLASSES:
            return torch.tensor([self.layout.labels[index] for index in indices])
        if self.kind is TargetKind.MAPS:
            return torch.stack([self._map(index) for index in indices])
        return None

    def preview(self, index: int) -> bytes | None:
        """A small picture, PNG."""
        return small_png(self._pixels(index))

    def _pixels(self, index: int) -> Tensor:
        return pixels_of(decoded(self.layout.files, self.names[index]), self.preprocessing)

    def _map(self, index: int) -> Tensor:
        maps, name = self.layout.maps, self.layout.map_names[index]
        assert maps is not None
        image = decoded(maps, name)
        if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
            raise DataError(
                f"{printable(str(maps.path))}: {shown(name)} is not a map of labels",
                expected="one channel, whose values are numbers of classes",
                found=f"an image with the channels {', '.join(image.getbands())}",
                hint="save the maps as numbers of classes: "
                "Image.fromarray(labels.astype(numpy.uint8)).save('map.png')",
            )
        return labels_of(image, self.preprocessing)
