"""Numbers for all images of a network: top-1, top-5, mean intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssn_prune.accuracy.per_image import PerImage


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1]; None where they do not apply.

    Attributes:
        top1: Of images whose largest output is the target's.
        top5: Of images whose target is among the five largest outputs.
        miou: Mean over classes of intersection over union, counted over all pixels of all images;
            classes that neither the targets nor the predictions have are left out.
    """

    top1: float | None = None
    top5: float | None = None
    miou: float | None = None


def accuracy_of(results: PerImage) -> Accuracy:
    """The accuracy of one network."""
    return Accuracy(
        top1=_share(results.right),
        top5=_share(results.right5),
        miou=None if results.counts is None else float(mean_iou(results.counts.sum(0).double())),
    )


def mean_iou(counts: Tensor) -> Tensor:
    """Mean intersection over union of counts (..., 3, classes), as :class:`PerImage` has them.

    Returns:
        Shape (...); NaN where no class has a pixel.
    """
    same, predicted, wanted = counts.unbind(-2)
    union = predicted + wanted - same
    present = union > 0
    ratios = torch.where(present, same / union.clamp(min=1), 0.0)
    return ratios.sum(-1) / present.sum(-1)


def _share(right: Tensor | None) -> float | None:
    return None if right is None else float(right.double().mean())
