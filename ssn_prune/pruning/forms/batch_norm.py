"""BN/BN: torch's BatchNorm."""

from __future__ import annotations

from torch import nn

from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms.parameters import is_affine, with_affine
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine

CODE = "batch_norm"
CLASSES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def build(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    """Make the module; see :class:`ssn_prune.pruning.forms.table.Form`."""
    make = CLASSES[layer.dimension - 1]
    batch_norm = make(norm.num_features, norm.eps, norm.momentum, is_affine(affine))
    batch_norm = batch_norm.to(channel_weight(norm))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        batch_norm.get_buffer(name).copy_(norm.get_buffer(name))
    return with_affine(batch_norm, *affine)


def restore(settings: FormSettings) -> nn.Module:
    """Make an empty one again; see :class:`ssn_prune.pruning.forms.table.Form`."""
    make = CLASSES[settings.dimension - 1]
    return make(settings.num_features, settings.eps, settings.momentum, settings.affine)
