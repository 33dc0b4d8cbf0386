"""Nothing is left of the layer: it has moved into its neighbours."""

from __future__ import annotations

from torch import nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import IDENTITY, LayerPlan
from ssn_prune.pruning.static_norm import Affine

CODE = IDENTITY
CLASSES = (nn.Identity,) * 3


def build(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    """Make the module; see :class:`ssn_prune.pruning.forms.table.Form`."""
    del layer, norm, affine
    return nn.Identity()


def restore(settings: FormSettings) -> nn.Module:
    """Make an empty one again; see :class:`ssn_prune.pruning.forms.table.Form`."""
    del settings
    return nn.Identity()
