"""The divergence of a candidate's outputs from the original's, image by image.

With labels, the first floating-point output holds class scores, and its divergence is that of
Kullback and Leibler, in nats. A network may have more outputs, such as a depth map or embeddings.
Their relative change r is squared and added: like the divergence, r squared has no unit, is
quadratic in small changes, and is 1 where nothing of an output is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssn_prune.accuracy.agreement import relative_differences
from ssn_prune.errors import ArgumentError, DataError
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.text import shown


@dataclass(frozen=True)
class Reference:
    """The original's outputs for a batch of images.

    Attributes:
        outputs: Its floating-point outputs.
        log_shares: With classes, its log-probabilities, (n, classes, ...); otherwise None.
    """

    outputs: tuple[Tensor, ...]
    log_shares: Tensor | None


@dataclass(frozen=True)
class Divergence:
    """How outputs are compared.

    Attributes:
        classes: Whether axis 1 of the first output holds class scores. If so, the harm is the
            Kullback-Leibler divergence from the original's probabilities, in nats, averaged over
            the positions of a map, plus the squared relative change of the other outputs.
            Otherwise it is the relative change of the outputs.

    The relative change is the mean difference in units of the mean magnitude; of several outputs,
    the one that changes most counts.
    """

    classes: bool

    def reference(self, outputs: Any, names: Sequence[str] = ()) -> Reference:
        """Keep the original's outputs to compare with.

        Args:
            outputs: The outputs for a batch.
            names: The names of its images, for errors.

        Raises:
            ArgumentError: They should hold class scores, but do not.
            DataError: Nothing can be compared with them, because they are not finite. A score of
                minus infinity excludes a class.
        """
        leaves = floating_outputs(outputs)
        if not self.classes:
            _require_finite([leaf.isfinite() for leaf in leaves], names)
            return Reference(leaves, None)
        if leaves[0].dim() < 2 or leaves[0].shape[1] < 2:
            raise ArgumentError(
                "the images have labels, but the network's outputs are not class scores",
                expected="outputs of shape (N, classes) or (N, classes, H, W)",
                found=f"outputs of shape {tuple(leaves[0].shape)}",
                hint="give the images without labels, to compare the outputs themselves",
            )
        log_shares = leaves[0].double().log_softmax(1)
        _require_finite([~log_shares.isnan(), *(leaf.isfinite() for leaf in leaves[1:])], names)
        return Reference(leaves, log_shares)

    def harms(self, reference: Reference, outputs: Any) -> Tensor:
        """The divergence of each image, (n,) float64, at least 0; NaN where the outputs are NaN."""
        leaves = floating_outputs(outputs)
        if reference.log_shares is None:
            images = next((len(leaf) for leaf in reference.outputs if leaf.dim()), 1)
            return _relative_changes(leaves, reference.outputs, images)
        terms = divergence_terms(leaves[0].double().log_softmax(1), reference.log_shares).sum(1)
        harms = terms.reshape(len(terms), -1).mean(1).clamp(min=0).cpu()
        others = self.other_changes(reference, outputs)
        return harms if others is None else harms + others.square()

    def other_changes(self, reference: Reference, outputs: Any) -> Tensor | None:
        """The relative change of the outputs other than the class scores.

        Returns:
            (n,) float64; None without classes or without other outputs.
        """
        if reference.log_shares is None or len(reference.outputs) < 2:
            return None
        images = len(reference.log_shares)
        return _relative_changes(floating_outputs(outputs)[1:], reference.outputs[1:], images)

    def same_classes(self, reference: Reference, outputs: Any) -> Tensor | None:
        """The share of positions of each image with the same class, (n,); None without classes."""
        if reference.log_shares is None:
            return None
        same = floating_outputs(outputs)[0].argmax(1) == reference.outputs[0].argmax(1)
        return same.double().reshape(len(same), -1).mean(1).cpu()

    def expected_drops(self, reference: Reference, outputs: Any) -> Tensor | None:
        """The accuracy that each image is expected to lose by the original's probabilities.

        This is the probability of the original's class minus that of the candidate's class: 0 where
        both agree, small where the original is uncertain.

        Returns:
            (n,) float64 in [0, 1], averaged over the positions of a map; None without classes.
        """
        if reference.log_shares is None:
            return None
        shares = reference.log_shares.exp()
        chosen = floating_outputs(outputs)[0].argmax(1, keepdim=True)
        lost = shares.amax(1) - shares.gather(1, chosen).squeeze(1)
        return lost.reshape(len(lost), -1).mean(1).cpu()


def _require_finite(finite: Sequence[Tensor], names: Sequence[str]) -> None:
    """Refuse outputs of the original that are not finite everywhere.

    Args:
        finite: For each output, where it is finite.
        names: The names of the images of the batch.
    """
    bad = next((where for where in finite if not bool(where.all())), None)
    if bad is None:
        return
    images = bad.reshape(len(bad), -1).all(1).tolist() if bad.dim() else []
    of = f" for {shown(names[images.index(False)])}" if len(images) == len(names) else ""
    raise DataError(
        f"the original network's outputs{of} are not finite",
        expected="numbers that a candidate's outputs can be compared with",
        found="nan or inf",
        hint="check that `mean=` and `std=` are those of the training, and leave out images for "
        "which the network overflows",
    )


def divergence_terms(given: Tensor, expected: Tensor) -> Tensor:
    """The terms of the Kullback-Leibler divergence, of the shape of these log-probabilities.

    Classes that the original excludes (a score of minus infinity) count as 0.
    """
    shares = expected.exp()
    terms = shares * (expected - given)
    return terms.masked_fill(shares == 0, 0.0)


def _relative_changes(
    outputs: Sequence[Tensor], reference: Sequence[Tensor], images: int
) -> Tensor:
    """The relative change of each image in the output that changes most, (images,) float64.

    An output without a batch axis, such as a temperature, belongs to all images.
    """
    found = [torch.zeros(images, dtype=torch.float64)]
    for given, expected in zip(outputs, reference, strict=True):
        if given.shape != expected.shape:  # such as another number of detections
            found.append(torch.full_like(found[0], math.inf))
        elif expected.numel():
            rows = images if expected.dim() and len(expected) == images else 1
            pair = (tensor.reshape(rows, -1) for tensor in (given, expected))
            found.append(relative_differences(*pair).cpu().expand(images))
    return torch.stack(found).amax(0)


def floating_outputs(outputs: Any) -> tuple[Tensor, ...]:
    """The floating-point tensors of nested outputs, in a fixed order.

    Raises:
        ArgumentError: There are none.
    """
    found = tuple(leaf for leaf in tensor_leaves(outputs) if leaf.is_floating_point())
    if not found:
        raise ArgumentError(
            "the network has no floating-point outputs, so candidates cannot be compared",
            expected="outputs such as class scores",
            found="none",
            hint="let the network return its scores, and take the largest outside of it",
        )
    return found
