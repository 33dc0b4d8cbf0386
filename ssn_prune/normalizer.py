"""The three normalizers and the pair that a layer selects.

The order IN, LN, BN is that of the gates everywhere: in the paper (arXiv 1903.03793, section 3),
in the reference checkpoints, and here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
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


def offered_normalizers(names: Iterable[Normalizer | str]) -> tuple[Normalizer, ...]:
    """The choices of a layer, in the order of its gates' entries.

    Args:
        names: Two or all of IN, LN and BN, in any order.

    Raises:
        ValueError: Fewer than two, a repeated or an unknown one.
    """
    listed = [names] if isinstance(names, str) else list(names)
    known = {normalizer.name: normalizer for normalizer in Normalizer}
    chosen = [n if isinstance(n, Normalizer) else known.get(str(n).upper()) for n in listed]
    if None in chosen or len(set(chosen)) != len(chosen) or len(chosen) < 2:
        shown = ", ".join(n.name if isinstance(n, Normalizer) else repr(n) for n in listed)
        raise ValueError(f"normalizers must be two or more of IN, LN, BN, got {shown or 'none'}")
    return tuple(sorted(n for n in chosen if n is not None))
