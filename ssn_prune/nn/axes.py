"""Tensors per channel and per plane, for inputs with any number of spatial axes, even none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SHAPES = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}


def require_dims(x: Tensor, dims: tuple[int, ...], channels: int | None = None) -> None:
    """Refuse an input with another number of axes, or of channels.

    Args:
        x: The input of a layer.
        dims: Numbers of axes that are allowed.
        channels: C, if it is to be checked too.

    Raises:
        ValueError: The number of axes or of channels differs.
    """
    if x.dim() not in dims or (channels is not None and x.shape[1] != channels):
        shapes = " or ".join(_SHAPES[dim] for dim in dims)
        shown = shapes if channels is None else shapes.replace("C", str(channels))
        raise ValueError(f"expected an input of shape {shown}, got {tuple(x.shape)}")


def spatial_mean(x: Tensor) -> Tensor:
    """The mean of every plane of x, (N, C, *), with each spatial axis reduced to size 1.

    The planes of an (N, C) input have one position each: they are their own means.
    """
    axes = tuple(range(2, x.dim()))
    return x.mean(axes, keepdim=True) if axes else x


def channel_axes(values: Tensor) -> tuple[int, ...]:
    """The axes over which one number per plane, (N, C, *) with ones, becomes one per sample.

    They are the channels and the last axis, which has one entry and so changes no number.
    Converters for small runtimes mistake a reduction over axis 1 alone for one over (N, C) vectors
    and lose the axis.
    """
    return (1, values.dim() - 1) if values.dim() > 2 else (1,)


def channel_mean(values: Tensor) -> Tensor:
    """The mean over channels of one number per plane, (N, C, *) with ones; C becomes 1."""
    return values.mean(channel_axes(values), keepdim=True)


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """View values of shape (C,) so that they broadcast over x, (N, C, *)."""
    return values.view(-1, *[1] * (x.dim() - 2))


def in_dtype_of(x: Tensor, values: Tensor) -> Tensor:
    """Values in the precision of x. A cast without effect would add two operators to a capture."""
    return values if values.dtype == x.dtype else values.to(x.dtype)


def normalize_channels(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias with statistics per channel.

    Args:
        x: Shape (N, C, *).
        mean: Shape (C,), or (1, C, *) with ones.
        var: The same, or one number for all channels.
        weight: Shape (C,), or None for ones.
        bias: Shape (C,), or None for zeros.
        eps: Added to the variance.
    """
    # detached: batch_norm refuses statistics that need a gradient
    mean, var = (s.detach().flatten().expand(x.shape[1]) for s in (mean, var))
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def channel_weight(layer: Any) -> Tensor:
    """The weight of a switchable layer, (C,), detached; ones if it has no affine parameters."""
    if layer.affine:
        weight: Tensor = layer.weight
        return weight.detach()
    gate = layer.mean_weight
    return torch.ones(layer.num_features, dtype=gate.dtype, device=gate.device)
