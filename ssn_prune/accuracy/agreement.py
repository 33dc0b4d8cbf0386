"""How well the outputs of two networks agree on the same images, whatever the labels are."""

from __future__ import annotations

from torch import Tensor

from ssn_prune.surgery.nested import top1_agreement


def relative_differences(outputs: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of each image, in units of the reference's mean magnitude.

    Args:
        outputs: (n, ...).
        reference: The same shape.

    Returns:
        (n,) float64; 0 where both are zero.
    """
    given, wide = (tensor.double().flatten(1) for tensor in (outputs, reference))
    difference, scale = (given - wide).abs().mean(1), wide.abs().mean(1)
    return difference.where(difference == 0, difference / scale)


def same_classes(outputs: Tensor, reference: Tensor) -> Tensor | None:
    """The share of positions of each image with the same largest class (axis 1).

    Returns:
        (n,) float64: 0 or 1 for (n, classes), a share of the pixels for (n, classes, H, W); None if
        the outputs have no class axis.
    """
    if top1_agreement(outputs, reference, -1.0) is None:
        return None
    same = (outputs.argmax(1) == reference.argmax(1)).double()
    return same.reshape(len(same), -1).mean(1)
