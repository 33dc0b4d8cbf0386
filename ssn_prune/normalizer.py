"""The three normalizers and the pair that a layer selects.

The order IN, LN, BN is that of the gates everywhere: in the paper (arXiv 1903.03793, section 3),
in the authors' checkpoints, and here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Normalizer(enum.IntEnum):
    """A source of statistics; the value is its index in a gate."""

    IN = 0
    LN = 1
    BN = 2


@dataclass(frozen=True, order=True)
class NormalizerPair:
    """What a layer selected: the sources of its mean and of its variance."""

    mean: Normalizer
    var: Normalizer

    def __str__(self) -> str:
        return f"{self.mean.name}/{self.var.name}"


ALL_PAIRS = tuple(NormalizerPair(mean, var) for mean in Normalizer for var in Normalizer)
