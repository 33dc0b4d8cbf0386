"""IN/BN after its scale was folded: what is left is centring each plane."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ssn_prune.nn.axes import per_channel, require_dims, spatial_mean


class InstanceCentre(nn.Module):
    """IN mean, BN variance, after the scale went into the conv: y = x - mean_in(x) + bias.

    Args:
        bias: Shape (C,), or None for zeros.
    """

    dims: ClassVar[tuple[int, ...]]

    def __init__(self, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, input: Tensor) -> Tensor:
        """Centre (N, C, *)."""
        require_dims(input, self.dims)
        centred = input - spatial_mean(input)
        return centred if self.bias is None else centred + per_channel(self.bias, input)


class InstanceCentre1d(InstanceCentre):
    """Centres (N, C) or (N, C, L); see :class:`InstanceCentre`."""

    dims = (2, 3)


class InstanceCentre2d(InstanceCentre):
    """Centres (N, C, H, W); see :class:`InstanceCentre`."""

    dims = (4,)


class InstanceCentre3d(InstanceCentre):
    """Centres (N, C, D, H, W); see :class:`InstanceCentre`."""

    dims = (5,)
