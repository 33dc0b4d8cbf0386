"""LN/LN: a group norm with one group, through moments per channel."""

from __future__ import annotations

from torch import Tensor, nn

from ssn_prune.nn.axes import channel_mean, in_dtype_of, per_channel, spatial_mean
from ssn_prune.nn.planes import computed


class GroupNorm(nn.GroupNorm):
    """LN/LN: torch's GroupNorm with one group, at inference through moments per channel.

    .. code-block:: text

        y = (x - mean_ln) * weight / sqrt(var_ln + eps) + bias

    with mean_ln the mean over c of mean_in(x_c), and var_ln that of mean_in((x_c - mean_ln)^2).
    torch's kernel computes x * scale + shift, which loses accuracy where a mean is many deviations
    away. torch exports it as an InstanceNormalization of one row of all entries, which ONNX Runtime
    sums in one float32 chain. In training mode the layer is torch's own.

    Args:
        num_channels: C.
        eps: Added to the biased variance.
        affine: Whether there are ``weight`` and ``bias``.
    """

    def __init__(self, num_channels: int, eps: float, affine: bool = True) -> None:
        super().__init__(1, num_channels, eps=eps, affine=affine)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *)."""
        if self.training:
            return super().forward(input)
        return in_dtype_of(input, self._normalized(computed(input)))

    def _normalized(self, x: Tensor) -> Tensor:
        centred = x - channel_mean(spatial_mean(x))
        var = channel_mean(spatial_mean(centred * centred))
        deviation = (var + self.eps).sqrt()
        if not self.affine:
            return centred / deviation
        weight, bias = in_dtype_of(x, self.weight), in_dtype_of(x, self.bias)
        return centred * (per_channel(weight, x) / deviation) + per_channel(bias, x)
