"""The kinds of variance that implementations use, by the number that a layer stores for them.

With n positions, C channels and N samples, and biased variances v:

====== ============== ============================== ==============================
number IN             LN                             BN
====== ============== ============================== ==============================
0      v              mean_c(v) + var_c(mean_in)     mean_n(v) + var_n(mean_in)
1      v n/(n - 1)    the same of IN's corrected v   the same of IN's corrected v
2      v n/(n - 1)    (0) times n C/(n C - 1)        (0) times n N/(n N - 1)
====== ============== ============================== ==============================

0 is the paper's, 1 the reference implementation's. 2 is what ``x.var()`` over the axes of each
normalizer gives; the reference SwitchNorm1d, on (N, C) inputs, is of this kind with n = 1.
"""

from __future__ import annotations

KINDS = (0, 1, 2)
FROM_PLANES = 1
OWN_COUNT = 2


def bessel(count: int) -> float:
    """The factor count / (count - 1); 1 where that is undefined."""
    return count / (count - 1) if count > 1 else 1.0
