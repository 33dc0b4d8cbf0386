"""Concrete normalizers: what a switchable layer becomes once its gates are decided.

Equal pairs are torch's own layers where these are exact, and the centring layers are what is left
when the scale has been folded into the convolution in front. Everything else is a
:class:`ssn_prune.nn.moment_norm.MomentNorm`.

As with torch's layers, the class names tell the number of spatial axes; 1d also takes (N, C). Where
the switchable layer has no affine parameters, its concrete form has none either.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from ssn_prune.nn.axes import (
    in_dtype_of,
    is_exported_sample,
    normalize_channels,
    per_channel,
    require_dims,
    spatial_mean,
)
from ssn_prune.nn.planes import HALVES, positions_of

# Planes of up to so many positions may be constant, with values far from their channel's mean; then
# x - (mean - bias) loses what (x - mean) + bias keeps. Larger planes take the former, a pass less.
CONSTANT_PLANE = 64


class InstanceNorm(_InstanceNorm):
    """IN/IN: torch's InstanceNorm that also accepts one position and may be tied to one size.

    One position is its own mean: the result is the bias there.

    Args:
        num_features: C.
        eps: Added to the biased variance.
        affine: Whether there are ``weight`` and ``bias``.
        positions: If given, the only number of positions for which the constants are exact.
        centre: If given, shape (C,): subtracted first. It changes nothing but the rounding.
    """

    dims: ClassVar[tuple[int, ...]]
    centre: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        affine: bool = True,
        positions: int | None = None,
        centre: Tensor | None = None,
    ) -> None:
        super().__init__(num_features, eps=eps, affine=affine)
        self.positions = positions
        if centre is None:
            self.centre = None
        else:  # first: torch.export miscounts buffers behind the empty ones of a root module
            self._buffers = {"centre": centre, **self._buffers}

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *); see the class.

        Raises:
            ValueError: The layer is tied to another spatial size, or made for other dimensions.
        """
        require_dims(input, self.dims)
        if self.positions is not None and positions_of(input) != self.positions:
            raise ValueError(
                f"this instance norm is exact for {self.positions} positions only, got "
                f"{tuple(input.shape)}; prune again at that input size"
            )
        x = input if self.centre is None else input - per_channel(self.centre, input)
        if positions_of(x) == 1:
            # Runtimes round x * scale and mean * scale apart, with a scale of up to 1/sqrt(eps).
            zero = x - x
            if not self.affine:
                return zero
            return zero * per_channel(self.weight, x) + per_channel(self.bias, x)
        return torch.instance_norm(
            x, self.weight, self.bias, None, None, True, 0.0, self.eps, False
        )


class InstanceNorm1d(InstanceNorm, nn.InstanceNorm1d):
    """IN/IN over (N, C) or (N, C, L); see :class:`InstanceNorm`."""

    dims = (2, 3)


class InstanceNorm2d(InstanceNorm, nn.InstanceNorm2d):
    """IN/IN over (N, C, H, W); see :class:`InstanceNorm`."""

    dims = (4,)


class InstanceNorm3d(InstanceNorm, nn.InstanceNorm3d):
    """IN/IN over (N, C, D, H, W); see :class:`InstanceNorm`."""

    dims = (5,)


class GroupNorm(nn.GroupNorm):
    """LN/LN: torch's GroupNorm with one group, at inference through per-channel moments.

    torch exports GroupNorm(1, C) as an InstanceNormalization of one row of all entries, which
    ONNX Runtime sums in one naive float32 chain; moments per channel are more accurate. torch's own
    kernel computes x * scale + shift, which loses accuracy where a mean is many deviations away.

    Args:
        num_channels: C.
        eps: Added to the biased variance.
        affine: Whether there are ``weight`` and ``bias``.
    """

    zero: Tensor

    def __init__(self, num_channels: int, eps: float, affine: bool = True) -> None:
        super().__init__(1, num_channels, eps=eps, affine=affine)
        self.register_buffer("zero", torch.zeros(num_channels), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *)."""
        native = self.training or input.dtype in HALVES  # whose squares overflow
        if native and not torch.compiler.is_exporting():
            return super().forward(input)
        centred = input - spatial_mean(input).mean(1, keepdim=True)
        var = spatial_mean(centred * centred).mean(1, keepdim=True)
        if not self.affine:
            return centred / (var + self.eps).sqrt()
        if is_exported_sample(input):
            zero = in_dtype_of(input, self.zero)
            return normalize_channels(centred, zero, var, self.weight, self.bias, self.eps)
        scale = per_channel(self.weight, input) / (var + self.eps).sqrt()
        return centred * scale + per_channel(self.bias, input)


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
        mean = spatial_mean(input)
        if self.bias is None:
            return input - mean
        positions = positions_of(input)
        large = isinstance(positions, int) and positions > CONSTANT_PLANE
        # OpenVINO 2026.4 moves a sum per channel into a mean over the last of three axes, and takes
        # the wrong channels: no bias on the mean there.
        if large and input.dim() > 3:
            return input - (mean - per_channel(self.bias, mean))
        return input - mean + per_channel(self.bias, input)


class InstanceCentre1d(InstanceCentre):
    """Centres (N, C) or (N, C, L); see :class:`InstanceCentre`."""

    dims = (2, 3)


class InstanceCentre2d(InstanceCentre):
    """Centres (N, C, H, W); see :class:`InstanceCentre`."""

    dims = (4,)


class InstanceCentre3d(InstanceCentre):
    """Centres (N, C, D, H, W); see :class:`InstanceCentre`."""

    dims = (5,)


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
        mean = per_channel(self.scale, input) * self._mean_ln(spatial_mean(input))
        if self.bias is None:
            return input - mean
        return input - (mean - per_channel(self.bias, input))

    def _mean_ln(self, mean_in: Tensor) -> Tensor:
        """The LN mean of the unscaled tensor, one number per sample."""
        return (mean_in * per_channel(self.coefficient, mean_in)).sum(1, keepdim=True)


class LayerCentre1d(LayerCentre):
    """Centres (N, C) or (N, C, L); see :class:`LayerCentre`."""

    dims = (2, 3)

    def _mean_ln(self, mean_in: Tensor) -> Tensor:
        # OpenVINO 2026.4 merges a product per channel into a mean over the last of three axes, and
        # takes the wrong channels.
        if mean_in.dim() == 2:
            return super()._mean_ln(mean_in)
        return torch.matmul(self.coefficient.view(1, 1, -1), mean_in)


class LayerCentre2d(LayerCentre):
    """Centres (N, C, H, W); see :class:`LayerCentre`."""

    dims = (4,)


class LayerCentre3d(LayerCentre):
    """Centres (N, C, D, H, W); see :class:`LayerCentre`."""

    dims = (5,)
