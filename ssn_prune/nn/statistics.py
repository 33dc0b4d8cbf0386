r"""Instance, layer and batch moments, all derived from the per-(n, c) moments.

For x of shape (N, C, H, W) with n = H W positions (SSN, arXiv 1903.03793, equations 2-4):

.. math::
    \mu_{in}[N,C],\ \sigma^2_{in}[N,C] \quad\text{over the positions}

    \mu_{ln}[N] = \mathrm{mean}_c\,\mu_{in},\quad
    \sigma^2_{ln}[N] = \mathrm{mean}_c\,\sigma^2_{in} + \mathrm{var}_c\,\mu_{in}

    \mu_{bn}[C] = \mathrm{mean}_N\,\mu_{in},\quad
    \sigma^2_{bn}[C] = \mathrm{mean}_N\,\sigma^2_{in} + \mathrm{var}_N\,\mu_{in}

The textbook form mean(var + mean^2) - mean^2 is the same number but suffers from cancellation: at
mean 100 and standard deviation 0.01 it is meaningless in float32. The form above never subtracts
large squares.

``correction=1`` divides the instance variance by n - 1, as the reference implementation does; the
layer and batch variances are then built from that corrected variance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Array = Any  # np.ndarray or Tensor


def instance_moments(x: Tensor, correction: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance of every (sample, channel) plane.

    Args:
        x: Shape (N, C, H, W).
        correction: 0 divides by n = H W, 1 by n - 1.

    Returns:
        Mean and variance, both (N, C, 1, 1). With ``correction=1`` and n = 1 the variance is 0/0
        and comes back as NaN.
    """
    flat = x.flatten(2).unsqueeze(-1)
    if flat.shape[2] - correction <= 0:  # torch would warn and give the same NaN
        mean = flat.mean(dim=2, keepdim=True)
        return mean, torch.full_like(mean, torch.nan)
    var, mean = torch.var_mean(flat, dim=2, correction=correction, keepdim=True)
    return mean, var


def pooled_moments(mean: Tensor, var: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Pool instance moments over channels (``dim=1``: layer) or samples (``dim=0``: batch).

    Args:
        mean: Instance means, (N, C, 1, 1).
        var: Instance variances, (N, C, 1, 1).
        dim: The axis to pool.

    Returns:
        Mean and variance with ``dim`` reduced to 1. The law of total variance: the mean of the
        variances plus the (population) variance of the means.
    """
    pooled, _ = pool(torch.stack((mean, var)), dim)
    return pooled[0], pooled[1]


def pool(moments: Array, dim: int) -> tuple[Array, Array]:
    """Pool as :func:`pooled_moments` does, with means and variances in one array.

    One operator then serves both. Only operators that NumPy arrays and tensors share are used.

    Args:
        moments: Means and variances, (2, ...).
        dim: The axis to pool, counted without the first one.

    Returns:
        The pooled means and variances, with that axis reduced to 1; and the deviations of the means
        from the pooled mean, of the shape of the means.
    """
    share = 1.0 / moments.shape[dim + 1]
    pooled = moments.sum(dim + 1, keepdims=True)
    pooled *= share
    deviation = moments[0] - pooled[0]
    spread = (deviation * deviation).sum(dim, keepdims=True)
    spread *= share
    pooled[1] += spread
    return pooled, deviation
