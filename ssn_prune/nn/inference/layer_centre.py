"""LN/BN after its scale was folded: what is left is centring each sample."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ssn_prune.nn.axes import channel_axes, per_channel, require_dims, spatial_mean


class LayerCentre(nn.Module):
    """LN mean, BN variance, after the scale s went into the conv: x is s times the conv's output.

    mean_ln of the unscaled tensor is the mean over c of mean_in(x_c) / s_c, hence
    y = x - s * sum_c coefficient_c mean_in(x_c) + bias with coefficient_c = 1 / (C s_c).

    Args:
        scale: s, shape (C,), no zeros.
        coefficient: Shape (C,).
        bias: Shape (C,), or None for zeros.
    """

    dims: ClassVar[tuple[int, ...]]
    scale: Tensor
    coefficient: Tensor

    def __init__(self, scale: Tensor, coefficient: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("coefficient", coefficient)
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, input: Tensor) -> Tensor:
        """Centre (N, C, *)."""
        require_dims(input, self.dims)
        mean_in = spatial_mean(input)
        weighted = mean_in * per_channel(self.coefficient, mean_in)
        mean_ln = weighted.sum(channel_axes(weighted), keepdim=True)
        mean = per_channel(self.scale, input) * mean_ln
        if self.bias is None:
            return input - mean
        return input - (mean - per_channel(self.bias, input))


class LayerCentre1d(LayerCentre):
    """Centres (N, C) or (N, C, L); see :class:`LayerCentre`."""

    dims = (2, 3)


class LayerCentre2d(LayerCentre):
    """Centres (N, C, H, W); see :class:`LayerCentre`."""

    dims = (4,)


class LayerCentre3d(LayerCentre):
    """Centres (N, C, D, H, W); see :class:`LayerCentre`."""

    dims = (5,)
