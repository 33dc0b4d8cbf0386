"""The surrogate: the harm of several changes together, as a sum over layers.

Single harms are a first guess. They do not add up, so after each round of measured candidates the
terms of the sum are fitted again: non-negative, as near to what was measured as they can be, and
near to the single harms where the measurements leave them open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.searching.candidates import Alternative
from ssn_prune.searching.selections import Changes

_TRUST = 0.05
"""How much a deviation of a term from its single harm weighs, against the same relative deviation
of a measured sum."""

Change = tuple[str, NormalizerPair]


@dataclass(frozen=True)
class Surrogate:
    """A term for each alternative.

    Attributes:
        terms: Harm by change.
    """

    terms: Mapping[Change, float]

    @classmethod
    def of_singles(cls, alternatives: Sequence[Alternative]) -> Surrogate:
        """The single harms."""
        return cls({(one.layer, one.pair): one.harm for one in alternatives})

    def harm(self, changes: Changes) -> float:
        """The predicted harm of several changes."""
        return sum(self.terms[change] for change in changes)

    def fitted(self, measured: Mapping[Changes, float], noise: float) -> Surrogate:
        """Fit the terms of this surrogate, made of single harms, to measured candidates.

        Args:
            measured: Joint harms.
            noise: A harm below which differences mean nothing.
        """
        keys = list(self.terms)
        columns = {key: index for index, key in enumerate(keys)}
        prior = np.array([self.terms[key] for key in keys])
        rows, values = [], []
        for changes, harm in measured.items():
            row = np.zeros(len(keys))
            row[[columns[change] for change in changes]] = 1
            weight = 1 / (harm + noise)
            rows.append(row * weight)
            values.append(harm * weight)
        kept = _TRUST / (prior + noise)
        matrix = np.vstack([*rows, np.diag(kept)])
        target = np.concatenate([np.array(values), prior * kept])
        found = lsq_linear(matrix, target, bounds=(0, np.inf)).x
        return Surrogate(dict(zip(keys, map(float, found), strict=True)))
