"""The divergence of a candidate's outputs from the original's, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssn_prune.accuracy.agreement import relative_differences
from ssn_prune.errors import ArgumentError
from ssn_prune.surgery.nested import tensor_leaves


@dataclass(frozen=True)
class Reference:
    """The original's outputs for a batch of images.

    Attributes:
        outputs: Its outputs; with classes only the first.
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
            the positions of a map. Otherwise it is the mean difference of the outputs, relative to
            their mean magnitude.
    """

    classes: bool

    def reference(self, outputs: Any) -> Reference:
        """Keep the original's outputs to compare with.

        Raises:
            ArgumentError: They should hold class scores, but do not.
        """
        leaves = _floating(outputs)
        if not self.classes:
            return Reference(leaves, None)
        if leaves[0].dim() < 2 or leaves[0].shape[1] < 2:
            raise ArgumentError(
                "the images have labels, but the network's outputs are not class scores",
                expected="outputs of shape (N, classes) or (N, classes, H, W)",
                found=f"outputs of shape {tuple(leaves[0].shape)}",
                hint="give the images without labels, to compare the outputs themselves",
            )
        return Reference(leaves[:1], leaves[0].double().log_softmax(1))

    def harms(self, reference: Reference, outputs: Any) -> Tensor:
        """The divergence of each image, (n,) float64, at least 0; NaN where the outputs are NaN."""
        leaves = _floating(outputs)
        if reference.log_shares is None:
            each = [
                relative_differences(given, expected)
                for given, expected in zip(leaves, reference.outputs, strict=True)
            ]
            return torch.stack(each).amax(0).cpu()
        expected, given = reference.log_shares, leaves[0].double().log_softmax(1)
        terms = (expected.exp() * (expected - given)).sum(1)
        return terms.reshape(len(terms), -1).mean(1).clamp(min=0).cpu()

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
        chosen = _floating(outputs)[0].argmax(1, keepdim=True)
        lost = shares.amax(1) - shares.gather(1, chosen).squeeze(1)
        return lost.reshape(len(lost), -1).mean(1).cpu()


def _floating(outputs: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in tensor_leaves(outputs) if leaf.is_floating_point())
