"""The outcome of checking one graph or many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


class FuzzError(Exception):
    """A graph for which a property does not hold.

    Attributes:
        kind: The property; the shrinker preserves it.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass
class Outcome:
    """What one graph, or many, gave."""

    graphs: int = 0
    undefined: int = 0
    layers: int = 0
    in_runtime: int = 0
    redrawn: int = 0
    ill_conditioned: int = 0
    folds: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Merge another outcome."""
        for name in ("graphs", "undefined", "layers", "in_runtime", "redrawn", "ill_conditioned"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.folds += other.folds
        self.refusals += other.refusals
        for key, value in other.worst.items():
            self.note(key, value)

    def note(self, key: str, ratio: float) -> None:
        """Keep the largest ratio of an error to its bound."""
        self.worst[key] = max(self.worst.get(key, 0.0), ratio)
