"""How far networks that compute the same may differ, from what they lose by themselves.

In float64, by

    1e-11 + 4 x 2^-29 x the network's own float32 error,

all relative to the largest value. 2^-29 is the ratio of the two precisions, so the second term is
what the network's formulas lose in float64. For example, E[x^2] - mean^2, as in the reference
implementation, is off by 4e-11 in float64 at mean 100 and deviation 0.1, and by 8 % in
float32.
"""

from __future__ import annotations

import math

FLOAT64_TOLERANCE = 1e-11
PRECISION_RATIO = 2.0**-29
ERROR_FACTOR = 4.0
NEAR = 10.0
"""How many times what is allowed an error of rounding may be, if it exceeds that at all."""
FLOAT32_TOLERANCE = 1e-5
"""Where float64 is impossible: added to 4 x the adopted network's own float32 error."""


def float64_bound(own_error: float) -> float:
    """The bound in float64; an own error that is not finite counts as 1."""
    known = own_error if math.isfinite(own_error) else 1.0
    return FLOAT64_TOLERANCE + ERROR_FACTOR * PRECISION_RATIO * known


def is_rounding(error: float, bound: float) -> bool:
    """Whether an error in float64 is explained by the digits that the network itself loses.

    Float32 kernels sum in float64, so the float32 error may understate the loss by a few times: ten
    times the second term counts as rounding. A mistake in code or in a formula is far above it.
    """
    return error <= max(bound, NEAR * (bound - FLOAT64_TOLERANCE))


def float32_bound(own_error: float) -> float:
    """The bound in float32, from the adopted network's own error; 0 if that is not finite."""
    return ERROR_FACTOR * own_error + FLOAT32_TOLERANCE if math.isfinite(own_error) else 0.0
