"""How far from the original a file may be in a runtime, and still be right there.

A runtime that computes a convolution in another way is less exact than ONNX Runtime, and no fault
of the file. How much less shows a twin of the network: the same one with BatchNorm selected in
every layer, which every runtime knows.
"""

from __future__ import annotations

import math

SMALLEST_BOUND = 1e-5
TWIN_FACTOR = 10.0
LARGEST_BOUND = 1e-3
"""A twin that is off by more than a tenth of this is wrong, and excuses nothing."""


def bound_in_runtime(twin_error: float | None) -> float:
    """The largest error, in units of the largest output, of a file that is right.

    Args:
        twin_error: That of the twin in the same runtime; None if it does not run there.
    """
    if twin_error is None or not math.isfinite(twin_error):
        return SMALLEST_BOUND
    return min(max(SMALLEST_BOUND, TWIN_FACTOR * twin_error), LARGEST_BOUND)
