"""What every source of images offers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from ssn_prune.images.preprocessing import Preprocessing

if TYPE_CHECKING:  # the kinds of targets are part of reports, which are read without torch
    from torch import Tensor


class TargetKind(StrEnum):
    """What is known about each image: its class, the class of each pixel, or nothing."""

    CLASSES = "classes"
    MAPS = "maps"
    NONE = "none"


class ImageSet(Protocol):
    """Images in a fixed order, read when they are asked for."""

    @property
    def source(self) -> str:
        """Where they are from, as it was given."""

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each image."""

    @property
    def kind(self) -> TargetKind:
        """What is known about each image."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty if they are not known."""

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How images become inputs; None if inputs are already normalized."""

    def __len__(self) -> int:
        """Number of images."""

    def inputs(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Float32 inputs of one call, (n, C, H, W) for each input of the network.

        Raises:
            DataError: An image cannot be read.
        """

    def pixels(self, indices: Sequence[int]) -> Tensor | None:
        """The images before normalization, uint8; None if inputs are already normalized.

        Raises:
            DataError: An image cannot be read.
        """

    def targets(self, indices: Sequence[int]) -> Tensor | None:
        """Classes (n,) or maps of classes (n, H, W), int64, -1 where there is none.

        Raises:
            DataError: A map cannot be read.
        """

    def preview(self, index: int) -> bytes | None:
        """A small picture, PNG; None if the input is not a picture."""


def spread_evenly(count: int, limit: int | None) -> list[int]:
    """At most ``limit`` indices below ``count``, evenly spaced.

    In a list that is sorted by class they reach all classes.
    """
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]
