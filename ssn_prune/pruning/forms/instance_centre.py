"""IN mean without a scale: what IN/BN leaves when its scale has moved into a convolution."""

from __future__ import annotations

from torch import nn

from ssn_prune.nn import inference
from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms.parameters import cast
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine

CODE = "instance_centre"
CLASSES = (inference.InstanceCentre1d, inference.InstanceCentre2d, inference.InstanceCentre3d)


def build(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    """Make the module; see :class:`ssn_prune.pruning.forms.table.Form`."""
    return CLASSES[layer.dimension - 1](cast(affine[1], channel_weight(norm)))


def restore(settings: FormSettings) -> nn.Module:
    """Make an empty one again; see :class:`ssn_prune.pruning.forms.table.Form`."""
    return CLASSES[settings.dimension - 1](settings.empty("bias"))
