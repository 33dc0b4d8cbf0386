"""LN/LN: torch's GroupNorm with one group."""

from __future__ import annotations

from torch import nn

from ssn_prune.nn import inference
from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms.parameters import is_affine, with_affine
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine

CODE = "group_norm"
CLASSES = (inference.GroupNorm,) * 3


def build(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    """Make the module; see :class:`ssn_prune.pruning.forms.table.Form`."""
    group_norm = CLASSES[layer.dimension - 1](norm.num_features, norm.eps, is_affine(affine))
    return with_affine(group_norm.to(channel_weight(norm)), *affine)


def restore(settings: FormSettings) -> nn.Module:
    """Make an empty one again; see :class:`ssn_prune.pruning.forms.table.Form`."""
    make = CLASSES[settings.dimension - 1]
    return make(settings.num_features, settings.eps, settings.affine)
