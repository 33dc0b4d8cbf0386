"""Images that are arrays in memory: from an .npz file, or from a loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssn_prune.errors import DataError
from ssn_prune.images.decoding import small_png
from ssn_prune.images.image_set import TargetKind
from ssn_prune.images.pixels import normalized
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.text import printable

MAX_BYTES = 2 << 30
"""Largest number of bytes of all arrays of one source."""

_BYTES = "the inputs are bytes, and how they become numbers is not known"


@dataclass(frozen=True)
class ImageArrays:
    """An :class:`~ssn_prune.images.image_set.ImageSet` of arrays.

    Attributes:
        source: Where they are from, as it was given.
        arrays: One for each input of the network, (n, ...); not uint8 if there are several.
        labels: (n,) or (n, H, W); None if there are none.
        preprocessing: How uint8 values become inputs; None for inputs that are already normalized.
    """

    source: str
    arrays: tuple[Tensor, ...]
    labels: Tensor | None
    preprocessing: Preprocessing | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names made from their numbers."""
        return tuple(f"input {index}" for index in range(len(self)))

    @property
    def kind(self) -> TargetKind:
        """What is known about each image."""
        if self.labels is None:
            return TargetKind.NONE
        return TargetKind.CLASSES if self.labels.dim() == 1 else TargetKind.MAPS

    @property
    def classes(self) -> tuple[str, ...]:
        """Empty: arrays do not name their classes."""
        return ()

    def __len__(self) -> int:
        return len(self.arrays[0])

    def inputs(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Inputs of one call, float32."""
        chosen = list(indices)
        if self.preprocessing is not None:
            return (normalized(self.arrays[0][chosen], self.preprocessing),)
        return tuple(array[chosen].float() for array in self.arrays)

    def pixels(self, indices: Sequence[int]) -> Tensor | None:
        """Values before normalization, uint8, (n, C, H, W); None if they come normalized."""
        return None if self.preprocessing is None else self.arrays[0][list(indices)]

    def targets(self, indices: Sequence[int]) -> Tensor | None:
        """Classes (n,), or maps of classes (n, H, W); None if nothing is known."""
        return None if self.labels is None else self.labels[list(indices)]

    def preview(self, index: int) -> bytes | None:
        """A small picture of the first input, PNG; None if that is not a picture."""
        return small_png(self.arrays[0][index])


def image_arrays(
    source: str,
    arrays: Sequence[Tensor],
    labels: Tensor | None,
    preprocessing: Preprocessing | None,
    input_sizes: Sequence[tuple[int, ...]],
) -> ImageArrays:
    """Check arrays against the network.

    Args:
        source: Where they are from, for errors.
        arrays: One for each input of the network.
        labels: The labels of the samples; None if there are none.
        preprocessing: How uint8 values become inputs; other inputs must already be normalized.
        input_sizes: The size of each input, without the batch axis.

    Raises:
        DataError: They do not fit the network or each other.
    """
    found = [tuple(array.shape) for array in arrays]
    wanted = " and ".join(str(("n", *size)).replace("'", "") for size in input_sizes)
    if () in found or [shape[1:] for shape in found] != [tuple(size) for size in input_sizes]:
        raise DataError(
            f"the inputs of {printable(source)} do not have the network's input shape",
            expected=f"{wanted}, channels first",
            found=", ".join(map(str, found)) or "nothing",
            hint="transpose or resize them, or pass the network's `input_size=`",
        )
    known = _whole(source, labels)
    counts = [len(array) for array in (*arrays, *(() if labels is None else (labels,)))]
    if len(set(counts)) > 1 or not counts[0]:
        raise DataError(
            f"{printable(source)} has unequal numbers of inputs and labels"
            if counts[0]
            else f"{printable(source)} has no inputs",
            expected="one label for each input, and one input at least",
            found=", ".join(map(str, counts)),
            hint="save them again, in the same order",
        )
    return ImageArrays(source, tuple(arrays), known, _for_bytes(source, arrays, preprocessing))


def _for_bytes(
    source: str, arrays: Sequence[Tensor], preprocessing: Preprocessing | None
) -> Preprocessing | None:
    if not any(array.dtype == torch.uint8 for array in arrays):
        return None
    if preprocessing is None or len(arrays) > 1:
        raise DataError(
            f"{printable(source)}: {_BYTES}",
            expected="floating inputs as the network takes them, or bytes and `mean=`, `std=`",
            found=", ".join(str(array.dtype) for array in arrays),
            hint="pass the `mean=` and `std=` of the training, such as `mean=0.5` and `std=0.5`",
        )
    return preprocessing


def _whole(source: str, labels: Tensor | None) -> Tensor | None:
    if labels is None:
        return None
    whole = not labels.is_complex()
    if labels.is_floating_point():
        whole = bool((labels % 1 == 0).all())  # nan and inf are not
    if labels.dim() not in (1, 3) or not whole:
        raise DataError(
            f"the labels of {printable(source)} are not classes",
            expected="whole numbers of shape (n,), or (n, H, W) for a class for each pixel",
            found=f"{'' if whole else 'other numbers, '}{labels.dtype} of shape "
            f"{tuple(labels.shape)}",
            hint=_as_classes(labels, whole=whole),
        )
    return labels.long()


def _as_classes(labels: Tensor, *, whole: bool) -> str:
    """How labels become classes."""
    single = next((axis for axis in range(1, labels.dim()) if labels.shape[axis] == 1), None)
    if whole and single is not None:
        return f"save them without the axis of length 1: labels.squeeze({single})"
    if single is None and labels.dim() in (2, 4):
        return (
            "save the number of each class, such as labels.argmax(1) if axis 1 is that of the "
            "classes, or leave labels out"
        )
    return "save the number of each input's class, or leave labels out"
