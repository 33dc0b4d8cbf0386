"""The three networks of a benchmark, and whether a difference between them is beyond noise."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.benchmarking.records import (
    NORM_FREE,
    ORIGINAL,
    PRUNED,
    BenchReport,
    NetworkCost,
)


@dataclass(frozen=True)
class Speed:
    """Latencies of the pruned network and of the networks to compare it with.

    Attributes:
        original: The original network, with constant gates, which computes all statistics.
        pruned: The converted network.
        floor: The same network without any normalization.
    """

    original: NetworkCost
    pruned: NetworkCost
    floor: NetworkCost | None

    @property
    def gain(self) -> float:
        """The share of the original's latency that is saved; negative if the result is slower."""
        return 1 - self.pruned.median_ms / self.original.median_ms

    @property
    def certain(self) -> bool:
        """Whether the medians differ by more than half of the larger interquartile range."""
        spreads = [n.upper_ms - n.lower_ms for n in (self.original, self.pruned)]
        return abs(self.original.median_ms - self.pruned.median_ms) > max(spreads) / 2

    @property
    def shares(self) -> tuple[float, float] | None:
        """The share of the latency that normalization takes, before and after; None if unknown."""
        if self.floor is None:
            return None
        before, after = (
            max(0.0, 1 - self.floor.median_ms / n.median_ms) for n in (self.original, self.pruned)
        )
        return before, after


def speed_of(bench: BenchReport | None) -> Speed | None:
    """The speed in a benchmark; None if it lacks the original or the pruned network."""
    if bench is None:
        return None
    named = {n.name: n for n in bench.networks if n.median_ms > 0}
    if ORIGINAL not in named or PRUNED not in named:
        return None
    return Speed(named[ORIGINAL], named[PRUNED], named.get(NORM_FREE))
