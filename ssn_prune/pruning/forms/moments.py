"""Any fixed mixture: the means and variances with a non-zero ratio, computed separately."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune.nn import inference
from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms.parameters import (
    cast,
    centring_constants,
    own_centre,
    subtracted_mean,
)
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine, running_statistics

CODE = "moments"
CLASSES = (inference.MomentNorm1d, inference.MomentNorm2d, inference.MomentNorm3d)


def build(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    """Make the module; see :class:`ssn_prune.pruning.forms.table.Form`."""
    like = channel_weight(norm)
    offset = subtracted_mean(layer, norm)
    own = own_centre(layer, like)
    shift = offset if own is None else centring_constants(layer, like)
    module = CLASSES[layer.dimension - 1](
        norm.num_features,
        cast(affine[0], like),
        cast(affine[1], like),
        _running(norm, shift),
        eps=norm.eps,
        momentum=norm.momentum,
        correction=layer.correction,
        mean_ratios=layer.mean_ratios,
        var_ratios=layer.var_ratios,
        offset=None if offset is None else offset.to(like),
        centre=own,
    )
    return module.to(like)


def restore(settings: FormSettings) -> nn.Module:
    """Make an empty one again; see :class:`ssn_prune.pruning.forms.table.Form`."""
    running = None
    if "running_mean" in settings.tensors:
        count = torch.empty((), dtype=torch.int64)
        running = torch.empty(settings.num_features), torch.empty(settings.num_features), count
    return CLASSES[settings.dimension - 1](
        settings.num_features,
        settings.empty("weight"),
        settings.empty("bias"),
        running,
        eps=settings.eps,
        momentum=settings.momentum,
        correction=settings.correction,
        mean_ratios=settings.mean_ratios,
        var_ratios=settings.var_ratios,
        offset=settings.empty("offset"),
        centre=settings.empty("centre"),
    )


def _running(norm: SwitchableNorm, shift: Tensor | None) -> tuple[Tensor, Tensor, Tensor] | None:
    """Running statistics relative to ``shift``; None if the mean is zero after that."""
    statistics, count = running_statistics(norm), norm.num_batches_tracked
    if statistics is None or count is None:
        return None
    mean, var = statistics
    if shift is None:
        return mean.clone(), var.clone(), count.clone()
    # A layer that takes a constant uses only the running mean, not the running variance.
    left = mean.double() - shift
    return (left.to(mean), var.clone(), count.clone()) if bool(left.any()) else None
