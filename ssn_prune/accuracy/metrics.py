"""The accuracy of a network over all images: top-1, top-5, mean intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor

from ssn_prune.accuracy.per_image import PerImage
from ssn_prune.accuracy.results import Accuracy


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
