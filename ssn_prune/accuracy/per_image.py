"""What a network got right, image by image, so that two networks can be paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssn_prune.errors import DataError
from ssn_prune.images.image_set import TargetKind
from ssn_prune.text import printable

VOID = 255
"""The label that means "no class" in many datasets."""


@dataclass(frozen=True)
class PerImage:
    """Results of n images.

    Attributes:
        kind: What is known about each image.
        predicted: If images have classes, the predicted class, (n,) int64; else None.
        right: If images have classes, whether the prediction is right, (n,) bool; else None.
        right5: If images have classes, whether the target is among the five largest outputs, (n,)
            bool; None with five classes or fewer.
        counts: If images have label maps, numbers of pixels, (n, 3, classes) int64: those where
            prediction and target agree on a class, those predicted as it, those labelled as it;
            else None.
    """

    kind: TargetKind
    predicted: Tensor | None = None
    right: Tensor | None = None
    right5: Tensor | None = None
    counts: Tensor | None = None

    def __len__(self) -> int:
        first = self.right if self.counts is None else self.counts
        return 0 if first is None else len(first)


def score(outputs: Tensor, targets: Tensor | None, kind: TargetKind) -> PerImage:
    """Compare outputs with targets.

    Args:
        outputs: (n, classes), or (n, classes, H, W) for maps; maps of another size are resized to
            that of the targets, bilinearly.
        targets: (n,) or (n, H, W), int64. In maps, negative numbers, the number of classes itself,
            and 255 unless it is a class, mean no class.
        kind: What the targets are.

    Raises:
        DataError: The targets do not fit the outputs.
    """
    if kind is TargetKind.NONE or targets is None:
        return PerImage(TargetKind.NONE)
    if kind is TargetKind.MAPS:
        return PerImage(kind, counts=_pixel_counts(outputs, targets))
    _require_classes(outputs, targets)
    classes = outputs.shape[1]
    predicted = outputs.argmax(1)
    right5 = None
    if classes > 5:
        right5 = (outputs.topk(5, dim=1).indices == targets[:, None]).any(1)
    return PerImage(kind, predicted, predicted == targets, right5)


def joined(parts: Sequence[PerImage]) -> PerImage:
    """The results of several batches of one network as one.

    Args:
        parts: At least one.
    """
    first = parts[0]

    def all_of(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    names = ("predicted", "right", "right5", "counts")
    return PerImage(first.kind, **{name: all_of(name) for name in names})


def require_labelled(results: PerImage, source: str) -> None:
    """Refuse label maps in which no pixel has a class: there is nothing to count.

    Args:
        results: The results of all images.
        source: Where the images are from.

    Raises:
        DataError: The maps are such.
    """
    if results.counts is not None and not bool(results.counts[:, 2].any()):
        raise DataError(
            f"no pixel in the label maps of {printable(source)} has a class",
            expected=f"classes 0 to {results.counts.shape[2] - 1}",
            found=f"other values, such as {VOID}, which mean no class",
            hint="save the number of each pixel's class, or give the images alone, without the "
            "maps next to them",
        )


def _require_classes(outputs: Tensor, targets: Tensor) -> None:
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        raise DataError(
            "the images have classes, but the network's outputs are not class scores",
            expected="outputs of shape (N, classes)",
            found=f"outputs of shape {tuple(outputs.shape)}",
            hint="give the images without labels, which compares the outputs themselves: a folder "
            "without folders in it, or arrays without labels",
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        raise _unfit(outputs.shape[1], f"class {low if low < 0 else high}")


def _unfit(classes: int, found: str) -> DataError:
    return DataError(
        "the labels do not fit the network's outputs",
        expected=f"classes 0 to {classes - 1}",
        found=found,
        hint="give data that the network was trained for, with the same numbering of classes",
    )


def _classes_of(scores: Tensor, size: torch.Size) -> Tensor:
    """The classes of one image, (1, H, W): maps of many classes are large in the targets' size."""
    if scores.shape[2:] != size:
        scores = F.interpolate(
            scores.float(), size=tuple(size), mode="bilinear", align_corners=False
        )
    return scores.argmax(1)


def _pixel_counts(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.dim() != 4 or outputs.shape[1] < 2:
        raise DataError(
            "the images have label maps, but the network's outputs are not maps of class scores",
            expected="outputs of shape (N, classes, H, W)",
            found=f"outputs of shape {tuple(outputs.shape)}",
            hint="give the images alone, without the maps next to them",
        )
    classes = outputs.shape[1]
    strange = sorted(set(targets[targets > classes].unique().tolist()) - {VOID})
    if strange:
        raise _unfit(
            classes,
            f"class {strange[0]} in a map; {classes} and {VOID} are taken for pixels without one",
        )
    predicted = torch.cat([_classes_of(one[None], targets.shape[1:]) for one in outputs])
    known = (targets >= 0) & (targets < classes)
    per_image = torch.arange(len(targets)).view(-1, 1, 1) * classes

    def counted(values: Tensor, where: Tensor) -> Tensor:
        bins = torch.bincount((per_image + values)[where], minlength=len(targets) * classes)
        return bins.view(len(targets), classes)

    same = counted(targets, known & (predicted == targets))
    return torch.stack([same, counted(predicted, known), counted(targets, known)], 1)
