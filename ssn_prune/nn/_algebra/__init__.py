"""The (N, C) algebra of a layer: what the CPU path runs on.

Private to :mod:`ssn_prune.nn`, which imports the names below and nothing else from here. NumPy is
load-bearing: on arrays the algebra takes half the time that it takes on tensors.
"""

from __future__ import annotations

from ssn_prune.nn._algebra.mixing import (
    BatchReduction,
    MomentMixture,
    NormSettings,
    rsqrt,
    stack,
)

__all__ = [
    "BatchReduction",
    "MomentMixture",
    "NormSettings",
    "rsqrt",
    "stack",
]
