"""The integer program: choose one pair per layer with the least harm at a given saving of time.

It is a multiple-choice knapsack problem (H. Kellerer, U. Pferschy and D. Pisinger, Knapsack
Problems, chapter 11), solved by HiGHS.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from ssn_prune.searching.candidates import Alternative
from ssn_prune.searching.selections import Changes
from ssn_prune.searching.surrogate import Surrogate

_SECONDS = 10.0


def cheapest_harm(
    alternatives: Sequence[Alternative], surrogate: Surrogate, saving: float
) -> Changes | None:
    """The changes of least predicted harm that save at least a given time.

    Args:
        alternatives: The pairs to choose from; a layer without a choice stays as it is.
        surrogate: Predicts the harms. A difference within a term's tolerance counts as none; the
            faster choice then wins.
        saving: Milliseconds to save, at least.

    Returns:
        The changes in the order of the alternatives; None if that much cannot be saved, or if the
        solver finds no solution in time.
    """
    if saving <= 0:
        return ()
    saved = np.array([one.saved for one in alternatives])
    layers = list(dict.fromkeys(one.layer for one in alternatives))
    most = sum(max(o.saved for o in alternatives if o.layer == layer) for layer in layers)
    if saving > most * (1 + 1e-9):
        return None
    harms = np.array([surrogate.terms[one.layer, one.pair] for one in alternatives])
    noise = np.array([surrogate.tolerances[one.layer, one.pair] for one in alternatives])
    one_each = np.array([[float(one.layer == layer) for one in alternatives] for layer in layers])
    found = milp(
        harms - noise * saved / most,
        integrality=np.ones(len(alternatives), dtype=np.int64),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, ub=1),
            LinearConstraint(saved[None], lb=min(saving, most * (1 - 1e-9))),
        ],
        options={"time_limit": _SECONDS},
    )
    if found.x is None:
        return None
    chosen = np.flatnonzero(found.x > 0.5).tolist()
    return tuple((alternatives[index].layer, alternatives[index].pair) for index in chosen)
