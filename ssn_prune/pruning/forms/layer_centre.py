r"""LN mean of a scaled tensor: what LN/BN leaves when its scale s has moved into a convolution.

The LN mean is that of the unscaled tensor :math:`y / s`, hence
:math:`y - s \sum_c \mathrm{mean}(y_c) / (C s_c) + \beta`.
"""

from __future__ import annotations

import torch
from torch import nn

from ssn_prune.nn import inference
from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms.parameters import cast
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine, scale_of

CODE = "layer_centre"
CLASSES = (inference.LayerCentre1d, inference.LayerCentre2d, inference.LayerCentre3d)


def build(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    """Make the module; see :class:`ssn_prune.pruning.forms.table.Form`."""
    like, scale = channel_weight(norm), scale_of(norm, affine)
    coefficient = 1 / (norm.num_features * scale)
    make = CLASSES[layer.dimension - 1]
    return make(scale.to(like), coefficient.to(like), cast(affine[1], like))


def restore(settings: FormSettings) -> nn.Module:
    """Make an empty one again; see :class:`ssn_prune.pruning.forms.table.Form`."""
    scale, coefficient = torch.empty(settings.num_features), torch.empty(settings.num_features)
    return CLASSES[settings.dimension - 1](scale, coefficient, settings.empty("bias"))
