"""The switchable normalizer in operators that torch differentiates, any number of times.

Compilers fuse it, and gradients of gradients are taken through it. The formulas are in
:mod:`ssn_prune.nn.functional`, which is faster where neither is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssn_prune.nn import planes
from ssn_prune.nn._algebra import MomentMixture, NormSettings
from ssn_prune.nn.planes import bessel_factor, computed, positions_of

Normalized = tuple[Tensor, Tensor | None]


def plain_formula(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    p: Tensor,
    q: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    settings: NormSettings,
) -> Normalized:
    """The same as :func:`switchable_norm`, given the gates' ratios p and q, (K,) each."""
    if settings.reduction is not None:
        raise RuntimeError(
            "statistics that are shared among processes can neither be compiled nor differentiated "
            "twice; keep them local (the default) for that"
        )
    work, positions = computed(x), positions_of(x)
    axes = list(range(2, x.dim()))
    var, mean = torch.var_mean(work, dim=axes, correction=0)
    wide = planes.wide_dtype(x)
    moments = torch.stack(
        (mean.to(wide), var.to(wide) * bessel_factor(positions, settings.correction))
    )
    running = None
    if running_mean is not None and running_var is not None:
        running = torch.stack((running_mean, running_var)).detach().to(wide)
    sizes = (settings.groups, mean.shape[0] // settings.groups, mean.shape[1])
    algebra = MomentMixture(moments.view(2, *sizes), running, settings, positions)
    ratios = torch.stack((p, q)).to(wide)
    if settings.correction and positions == 1:
        algebra.undefine(ratios)
    mixed_mean, mixed_var = algebra.mixed(ratios, [True] * len(p)).unbind()
    scale = (mixed_var + settings.eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    planar = (*mean.shape, *[1] * (x.dim() - 2))
    centred = work - mixed_mean.expand(sizes).reshape(planar).to(work.dtype)
    y = centred * scale.expand(sizes).reshape(planar).to(work.dtype)
    if bias is not None:
        y = y + bias.view(-1, *planar[2:])
    return y.to(x.dtype), None if algebra.batch is None else algebra.batch.detach()
