"""The (N, C) algebra of a layer, and its gates in plain numbers: what the CPU path runs on.

Private to :mod:`ssn_prune.nn`, which imports the names below and nothing else from here. NumPy and
plain numbers are load-bearing: one gate takes 15 us instead of 1.5 ms, and the algebra half the
time that it takes on tensors.
"""

from __future__ import annotations

from ssn_prune.nn._algebra.mixing import (
    BatchReduction,
    MomentMixture,
    NormSettings,
    rsqrt,
    stack,
)
from ssn_prune.nn._algebra.single_gate import GateSolution, frozen_gate, softmax_gate, solve_gate

__all__ = [
    "BatchReduction",
    "GateSolution",
    "MomentMixture",
    "NormSettings",
    "frozen_gate",
    "rsqrt",
    "softmax_gate",
    "solve_gate",
    "stack",
]
