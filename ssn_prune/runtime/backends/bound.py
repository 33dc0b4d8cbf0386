"""The largest error at which a file counts as correct in a runtime.

A runtime may compute convolutions in a less accurate way than ONNX Runtime, which is no fault of
the file. How much less accurate shows the network's twin: the same network with BatchNorm in every
layer, which every runtime supports.
"""

from __future__ import annotations

import math

SMALLEST_BOUND = 1e-5
TWIN_FACTOR = 10.0
LARGEST_BOUND = 1e-3
"""A twin whose error is more than a tenth of this is wrong, and raises the bound no further."""


def bound_in_runtime(twin_error: float | None) -> float:
    """The largest error of a correct file, in units of the largest output.

    Args:
        twin_error: Error of the twin in the same runtime; None if it does not run there.
    """
    if twin_error is None or not math.isfinite(twin_error):
        return SMALLEST_BOUND
    return min(max(SMALLEST_BOUND, TWIN_FACTOR * twin_error), LARGEST_BOUND)
