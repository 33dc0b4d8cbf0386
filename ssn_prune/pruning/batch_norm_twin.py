"""The BatchNorm twin: the same network with BatchNorm in the place of every switchable layer.

Where a runtime is inaccurate on a converted network, the twin shows whether the cause is the
runtime's convolutions or the normalizers.
"""

from __future__ import annotations

import torch
from torch import nn

from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.forms import batch_norm
from ssn_prune.surgery.copying import copy_replacing


def batch_norm_twin(model: nn.Module) -> nn.Module:
    """A copy in which every switchable layer is replaced by BatchNorm with the layer's own tensors.

    Args:
        model: A network with switchable layers. Not changed; the copy shares its parameters.

    Returns:
        The copy, in evaluation mode. A layer without running statistics has mean 0 and variance 1.
    """
    layers = [module for module in model.modules() if isinstance(module, SwitchableNorm)]
    twin = copy_replacing(model, [(layer, _batch_norm(layer)) for layer in layers])
    twin.eval()  # as a statement: overridden train methods need not return the module
    return twin


@torch.no_grad()
def _batch_norm(layer: SwitchableNorm) -> nn.Module:
    make = batch_norm.CLASSES[max(layer.dims) - 3]
    made = make(layer.num_features, layer.eps, layer.momentum, layer.affine)
    made = made.to(channel_weight(layer))
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(layer, name)
        if value is not None:
            getattr(made, name).copy_(value)
    return made
