"""The front against the best selections of harms that add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.searching.candidates import Alternative
from ssn_prune.searching.exploring import Explorer, explore
from ssn_prune.searching.results import SearchOptions
from ssn_prune.searching.selections import Changes

PAIR = ALL_PAIRS[0]
SMALL = [0.0009] * 9
EVEN = list(np.linspace(2e-4, 2e-3, 15))
SPREAD = list(10 ** np.random.default_rng(0).uniform(-5, 0.5, 46))


@dataclass
class Additive:
    """Measures harms that are the sums of single ones; a drop is a hundred times the harm."""

    harms: dict[str, float]
    options: SearchOptions
    journal: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(joint={}))

    def measure(self, candidates: list[Changes]) -> None:
        for changes in candidates:
            harm = sum(self.harms[layer] for layer, _ in changes)
            self.journal.joint[changes] = SimpleNamespace(harm=harm, drop=100 * harm)


@pytest.mark.parametrize("noise", [0.0, 0.15, 0.5])
@pytest.mark.parametrize("allowed", [0.1, 0.5, 5.0])
@pytest.mark.parametrize(
    "harms", [[*SMALL, 1.0], [*EVEN, 3.0], SPREAD], ids=["equal", "even", "spread"]
)
def test_as_many_layers_change_as_the_bound_allows(
    harms: list[float], allowed: float, noise: float
) -> None:
    """Also next to a layer whose error is larger than all other harms."""
    layers = [
        Alternative(f"layer{i}", PAIR, 0.0, 1.0, harm=harm, error=noise * harm)
        for i, harm in enumerate(harms)
    ]
    measured = Additive({one.layer: one.harm for one in layers}, SearchOptions(max_drop=allowed))
    front = explore(cast("Explorer", measured), layers)
    within = [len(c) for c in front if measured.journal.joint[c].drop <= allowed]
    possible = int(np.searchsorted(100 * np.cumsum(sorted(harms)), allowed, side="right"))
    assert max(within) == possible
