"""Placement of a layer: its number of spatial axes, its device and its dtype.

A norm layer often does not determine them; they then follow from the layers around it.
"""

from __future__ import annotations

import torch
from torch import nn

_CONVOLUTIONS: tuple[tuple[type[nn.Module], ...], ...] = (
    (nn.Conv1d, nn.ConvTranspose1d),
    (nn.Conv2d, nn.ConvTranspose2d),
    (nn.Conv3d, nn.ConvTranspose3d),
)


def spatial_axes_around(model: nn.Module, norm: nn.Module, channels: int) -> int:
    """Guess the number of spatial axes of a layer's inputs from the layers around it.

    The first rule that applies decides: the last convolution that precedes the layer in the same
    parent and outputs its channels; such a Linear (1); all convolutions of the network, if they are
    of one kind; 1 in a network with Linear layers and no convolution; 2.

    Args:
        model: The network.
        norm: A layer in it that takes inputs of any number of axes.
        channels: Its channels.

    Returns:
        1, 2 or 3.
    """
    preceding: list[nn.Module] = []
    for parent in model.modules():
        children = [child for child in parent._modules.values() if child is not None]
        position = next((i for i, child in enumerate(children) if child is norm), 0)
        preceding += reversed(children[:position])
    for sibling in preceding:
        axes = _convolved_axes(sibling)
        if axes is not None and getattr(sibling, "out_channels", None) == channels:
            return axes
    linear = [module for module in preceding if isinstance(module, nn.Linear)]
    if any(module.out_features == channels for module in linear):
        return 1
    kinds = {axes for axes in map(_convolved_axes, model.modules()) if axes is not None}
    if len(kinds) == 1:
        return kinds.pop()
    only_linear = not kinds and any(isinstance(module, nn.Linear) for module in model.modules())
    return 1 if only_linear else 2


def _convolved_axes(module: nn.Module) -> int | None:
    for axes, classes in enumerate(_CONVOLUTIONS, start=1):
        if isinstance(module, classes):
            return axes
    return None


def placement_of(
    model: nn.Module, module: nn.Module
) -> tuple[torch.device | None, torch.dtype | None]:
    """Device and floating dtype of a layer's own tensors, or else of its neighbours'.

    A layer without tensors, such as an InstanceNorm without parameters, is placed like the last
    preceding layer that has some, or else like the first following one. None (torch's default)
    if no layer has any.
    """
    order = list(model.modules())
    position = next(i for i, other in enumerate(order) if other is module)
    preceding, following = order[:position], order[position + 1 :]
    for other in (module, *reversed(preceding), *following):
        held = (*other._parameters.values(), *other._buffers.values())
        tensor = next((t for t in held if t is not None and t.is_floating_point()), None)
        if tensor is not None:
            return tensor.device, tensor.dtype
    return None, None
