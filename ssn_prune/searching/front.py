"""The Pareto front of measured candidates."""

from __future__ import annotations

from collections.abc import Mapping

from ssn_prune.searching.selections import Changes


def pareto(saved: Mapping[Changes, float], harm: Mapping[Changes, float]) -> list[Changes]:
    """The candidates that no other dominates in saved time and harm.

    Args:
        saved: Saved milliseconds by candidate.
        harm: Harm by candidate.

    Returns:
        The front, from the least to the most saved time. The original is always its first point,
        even if another candidate does no harm.
    """
    found: list[Changes] = []
    best = float("inf")
    for changes in sorted(saved, key=lambda c: (-saved[c], harm[c])):
        if harm[changes] < best or not changes:
            found.append(changes)
            best = harm[changes]
    return found[::-1]


def spread(front: list[Changes], saved: Mapping[Changes, float], count: int) -> list[Changes]:
    """At most ``count`` points of a front: its ends, and others about evenly spaced in time."""
    if len(front) <= count:
        return front
    first, last = saved[front[0]], saved[front[-1]]
    wanted = [first + (last - first) * place / (count - 1) for place in range(count)]
    chosen = {min(front, key=lambda c: abs(saved[c] - goal)) for goal in wanted}
    rest = [c for c in front if c not in chosen]
    while len(chosen) < count and rest:  # gaps in the front leave places free
        chosen.add(rest.pop(len(rest) // 2))
    return [c for c in front if c in chosen]
