"""The surrogate: predicts the harm of several changes together as a sum over layers.

Single harms are the first guess. They do not simply add up, so after each round of measurements the
terms of the sum are fitted again. The fit is a regularised non-negative least-squares problem:
where the measurements do not determine a term, it stays near its single harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import lsq_linear

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.searching.candidates import Alternative
from ssn_prune.searching.selections import Changes

_TRUST = 0.05
"""Weight of a term's relative deviation from its single harm, compared with the same relative
deviation of a sum from its measurement."""
_LEAST = 1e-9
"""The smallest tolerance, in units of harm: a term without an error is not known exactly."""

Change = tuple[str, NormalizerPair]


@dataclass(frozen=True)
class Surrogate:
    """One term for each alternative.

    Attributes:
        terms: Predicted harm by change.
        tolerances: Harms that differ by less count as equal, by change. A layer that does much harm
            also has a large error, which says nothing about the others.
    """

    terms: Mapping[Change, float]
    tolerances: Mapping[Change, float]

    @classmethod
    def of_singles(cls, alternatives: Sequence[Alternative]) -> Surrogate:
        """A surrogate whose terms are the single harms."""
        return cls(
            {(one.layer, one.pair): one.harm for one in alternatives},
            {(one.layer, one.pair): max(one.error / 10, _LEAST) for one in alternatives},
        )

    def harm(self, changes: Changes) -> float:
        """The predicted harm of several changes."""
        return sum(self.terms[change] for change in changes)

    def fitted(self, measured: Mapping[Changes, float]) -> Surrogate:
        """Fit the terms of this surrogate, which are single harms, to measured candidates.

        Args:
            measured: Measured harms by candidate.
        """
        keys = list(self.terms)
        columns = {key: index for index, key in enumerate(keys)}
        prior = np.array([self.terms[key] for key in keys])
        noise = np.array([self.tolerances[key] for key in keys])
        rows, values = [], []
        for changes, harm in measured.items():
            row = np.zeros(len(keys))
            row[[columns[change] for change in changes]] = 1
            weight = 1 / (
                harm + max((self.tolerances[change] for change in changes), default=_LEAST)
            )
            rows.append(row * weight)
            values.append(harm * weight)
        kept = _TRUST / (prior + noise)
        matrix = np.vstack([*rows, np.diag(kept)])
        target = np.concatenate([np.array(values), prior * kept])
        found = lsq_linear(matrix, target, bounds=(0, np.inf)).x
        return replace(self, terms=dict(zip(keys, map(float, found), strict=True)))
