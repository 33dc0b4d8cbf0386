"""Tensors per channel and per plane, for inputs with any number of spatial axes, also none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssn_prune.layers.switchable import SwitchableNorm

_SHAPES = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}


def require_dims(x: Tensor, dims: tuple[int, ...]) -> None:
    """Refuse an input with another number of axes.

    Args:
        x: The input of a layer.
        dims: Numbers of axes that are allowed.

    Raises:
        ValueError: It has another number.
    """
    if x.dim() not in dims:
        shapes = " or ".join(_SHAPES[dim] for dim in dims)
        raise ValueError(f"expected an input of shape {shapes}, got {tuple(x.shape)}")


def spatial_mean(x: Tensor) -> Tensor:
    """The mean of every plane of x, (N, C, *), with size 1 in the place of each spatial axis.

    The planes of an (N, C) input have one position each: they are their own means.
    """
    axes = tuple(range(2, x.dim()))
    return x.mean(axes, keepdim=True) if axes else x


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """View values of shape (C,) so that they broadcast over x, (N, C, *)."""
    return values.view(-1, *[1] * (x.dim() - 2))


def position_count(x: Tensor) -> int:
    """Positions of a plane of x, (N, C, *); 1 for (N, C)."""
    return math.prod(x.shape[2:])


def channel_weight(layer: SwitchableNorm) -> Tensor:
    """A layer's weight, (C,), detached; ones if it has no affine parameters."""
    if layer.affine:
        return layer.weight.detach()
    gate = layer.mean_weight
    return torch.ones(layer.num_features, dtype=gate.dtype, device=gate.device)
