r"""Instance, layer and batch moments, all derived from the per-(n, c) moments.

For x of shape (N, C, H, W) with n = H W positions (SSN, arXiv 1903.03793, equations 2-4):

.. math::
    \mu_{in}[N,C],\ \sigma^2_{in}[N,C] \quad\text{over the positions}

    \mu_{ln}[N] = \mathrm{mean}_c\,\mu_{in},\quad
    \sigma^2_{ln}[N] = \mathrm{mean}_c\,\sigma^2_{in} + \mathrm{var}_c\,\mu_{in}

    \mu_{bn}[C] = \mathrm{mean}_N\,\mu_{in},\quad
    \sigma^2_{bn}[C] = \mathrm{mean}_N\,\sigma^2_{in} + \mathrm{var}_N\,\mu_{in}

The textbook form mean(var + mean^2) - mean^2 is the same number but cancels: at mean 100 and
standard deviation 0.01 it is garbage in float32. The form above never subtracts large squares.

``correction=1`` divides the instance variance by n - 1, as the reference implementation does; the
layer and batch variances are then built from that corrected variance.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    spread, pooled_mean = torch.var_mean(mean, dim=dim, correction=0, keepdim=True)
    return pooled_mean, var.mean(dim=dim, keepdim=True) + spread
