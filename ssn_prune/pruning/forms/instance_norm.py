r"""IN/IN: torch's instance norm.

With Bessel's correction, :math:`f = n / (n - 1)` for n positions,

.. math:: w / \sqrt{f v + \epsilon} = (w / \sqrt f) / \sqrt{v + \epsilon / f},

so the factor goes into weight and eps, which is exact for that n only. A layer without affine
parameters then gets constant ones.
"""

from __future__ import annotations

import torch
from torch import nn

from ssn_prune.nn import inference
from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms.parameters import is_affine, own_centre, with_affine
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine

CODE = "instance_norm"
CLASSES = (inference.InstanceNorm1d, inference.InstanceNorm2d, inference.InstanceNorm3d)


def build(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    """Make the module; see :class:`ssn_prune.pruning.forms.table.Form`."""
    like, eps = channel_weight(norm), norm.eps
    weight, bias = affine
    positions = layer.positions if layer.correction else None
    if positions is not None:
        factor = positions / (positions - 1)
        weight = torch.ones_like(like) if weight is None else weight
        weight, eps = weight.double() / factor**0.5, eps / factor
    make = CLASSES[layer.dimension - 1]
    has_affine = is_affine((weight, bias))
    instance_norm = make(norm.num_features, eps, has_affine, positions, own_centre(layer, like))
    instance_norm = with_affine(instance_norm.to(like), weight, bias)
    return instance_norm.requires_grad_(is_affine(affine))


def restore(settings: FormSettings) -> nn.Module:
    """Make an empty one again; see :class:`ssn_prune.pruning.forms.table.Form`."""
    make, features = CLASSES[settings.dimension - 1], settings.num_features
    centre = settings.empty("centre")
    return make(features, settings.eps, settings.affine, settings.positions, centre)
