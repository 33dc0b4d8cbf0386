r"""Concrete normalizers: what a switchable layer becomes once its gates are decided.

Equal pairs are torch's own layers where these are exact. Everything else is a
:class:`MomentNorm2d`, which computes only the statistics with a non-zero ratio, or one of the two
centring layers that are left when the scale has been folded into the convolution in front.

For a Bessel-corrected variance, :math:`f = n/(n-1)` turns a biased variance v into f v, and

.. math:: w / \sqrt{f v + \epsilon} = (w / \sqrt f) / \sqrt{v + \epsilon / f},

so a corrected instance norm is a plain one with other constants, exact for that n only.
"""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune.math.moments import pooled_moments
from ssn_prune.normalizer import Normalizer

_IN, _LN, _BN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's InstanceNorm2d that also accepts 1x1 maps and may be tied to one spatial size.

    Args:
        num_features: C.
        eps: Added to the biased variance.
        positions: If given, the only H W for which the constants are exact.
        centre: If given, shape (C,): subtracted first. It changes nothing but the rounding.
    """

    centre: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        positions: int | None = None,
        centre: Tensor | None = None,
    ) -> None:
        super().__init__(num_features, eps=eps, affine=True)
        self.positions = positions
        self.register_buffer("centre", centre)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, H, W); see the class.

        Raises:
            ValueError: The layer is tied to another spatial size.
        """
        self._check_input_dim(input)
        positions = input.shape[2] * input.shape[3]
        if self.positions is not None and positions != self.positions:
            raise ValueError(
                f"this instance norm is exact for {self.positions} positions only, got "
                f"{tuple(input.shape)}; prune again at that input size"
            )
        if self.centre is not None:
            input = input - self.centre.view(-1, 1, 1)
        return torch.instance_norm(
            input, self.weight, self.bias, None, None, True, 0.0, self.eps, False
        )


class GroupNorm(nn.GroupNorm):
    """LN/LN: torch's GroupNorm with one group, exported through per-channel moments.

    torch exports GroupNorm(1, C) as an InstanceNormalization of one row of C H W entries, which
    ONNX Runtime sums in one naive float32 chain; moments per channel are more accurate.

    Args:
        num_channels: C.
        eps: Added to the biased variance.
    """

    def __init__(self, num_channels: int, eps: float) -> None:
        super().__init__(1, num_channels, eps=eps)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        if not torch.compiler.is_exporting():
            return super().forward(input)
        centred = input - input.mean((2, 3), keepdim=True).mean(1, keepdim=True)
        var = (centred * centred).mean((2, 3), keepdim=True).mean(1, keepdim=True)
        scale = self.weight.view(-1, 1, 1) / (var + self.eps).sqrt()
        return centred * scale + self.bias.view(-1, 1, 1)


class InstanceCentre2d(nn.Module):
    """IN mean, BN variance, after the scale went into the conv: y = x - mean_in(x) + bias.

    Args:
        bias: Shape (C,).
    """

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Centre (N, C, H, W)."""
        return x - x.mean((2, 3), keepdim=True) + self.bias.view(-1, 1, 1)


class LayerCentre2d(nn.Module):
    """LN mean, BN variance, after the scale s went into the conv: x is s times the conv's output.

    mean_ln of the unscaled tensor is the mean over c of mean_in(x_c) / s_c, hence
    y = x - s * sum_c coefficient_c mean_in(x_c) + bias with coefficient_c = 1 / (C s_c).

    Args:
        scale: s, shape (C,), no zeros.
        coefficient: Shape (C,).
        bias: Shape (C,).
    """

    scale: Tensor
    coefficient: Tensor

    def __init__(self, scale: Tensor, coefficient: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("coefficient", coefficient)
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Centre (N, C, H, W)."""
        weighted = x.mean((2, 3), keepdim=True) * self.coefficient.view(-1, 1, 1)
        mean = self.scale.view(-1, 1, 1) * weighted.sum(1, keepdim=True)
        return x - (mean - self.bias.view(-1, 1, 1))


class MomentNorm2d(nn.Module):
    """Any fixed mixture of the three normalizers; one-hot ratios give the mixed pairs.

    In training mode BN's statistics are those of the batch and the running ones are updated.

    Args:
        weight: Shape (C,).
        bias: Shape (C,).
        running_mean: Shape (C,); may be None if no ratio uses BN.
        running_var: Shape (C,); may be None if no ratio uses BN.
        eps: Added to the variance.
        momentum: torch's convention.
        correction: 1 for Bessel-corrected instance variances.
        mean_ratios: Weights of the IN, LN and BN means.
        var_ratios: Weights of the IN, LN and BN variances.
        offset: If given, shape (C,): the running mean, already subtracted from the input by the
            convolution in front. The layer is then for inference only.
        centre: If given, shape (C,): subtracted by the layer itself before everything else, which
            changes nothing but the rounding. For an IN mean and for inference only.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    offset: Tensor | None
    centre: Tensor | None
    unit: Tensor | None
    zero: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        *,
        eps: float,
        momentum: float,
        correction: int,
        mean_ratios: tuple[float, float, float],
        var_ratios: tuple[float, float, float],
        offset: Tensor | None = None,
        centre: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.eps = eps
        self.momentum = momentum
        self.correction = correction
        self.mean_ratios = mean_ratios
        self.var_ratios = var_ratios
        uses_bn = bool(mean_ratios[Normalizer.BN] or var_ratios[Normalizer.BN]) and offset is None
        for name, value in (
            ("running_mean", running_mean if uses_bn else None),
            ("running_var", running_var if uses_bn else None),
            ("offset", offset),
            ("centre", centre),
        ):
            self.register_buffer(name, value)
        # Constants of the BatchNormalization nodes below; not part of the state dict.
        static_scale = var_ratios == _BN
        static_mean = mean_ratios == _BN and offset is None and not static_scale
        zero = torch.zeros_like(weight) if static_scale else None
        unit = torch.ones_like(weight) if static_mean else None
        self.register_buffer("zero", zero, persistent=False)
        self.register_buffer("unit", unit, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W).

        Raises:
            ValueError: A Bessel-corrected instance or layer variance over one position.
        """
        if x.dtype in (torch.float16, torch.bfloat16):  # squares overflow half precision
            tensors = dict(chain(self.named_parameters(), self.named_buffers()))
            wide = {name: tensor.float() for name, tensor in tensors.items()}
            y: Tensor = torch.func.functional_call(self, wide, (x.float(),))
            return y.to(x.dtype)
        if self.centre is not None:
            x = x - self.centre.view(-1, 1, 1)
        p, q = self.mean_ratios, self.var_ratios
        batch = self.training and self.running_var is not None
        if q == _BN and not batch and self.zero is not None:
            centred = x - self._mix_means(x.mean((2, 3), keepdim=True), self.running_mean)
            return F.batch_norm(
                centred, self.zero, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        factor = self._bessel_factor(x)
        mean_in = x.mean((2, 3), keepdim=True)
        centred = x - mean_in
        var_in = (centred * centred).mean((2, 3), keepdim=True)
        running_mean, running_var = self.running_mean, self.running_var
        if batch:
            running_mean, running_var = self._batch_statistics(mean_in, var_in * factor)

        weight: Tensor = self.weight
        eps = self.eps
        if q == _IN:  # no multiplication by the factor at run time: see the module's formula
            weight, eps, var = weight / math.sqrt(factor), eps / factor, var_in
        else:
            var = self._mix_vars(mean_in, var_in, factor, running_var)
        bias = self.bias.view(-1, 1, 1)
        if p == _BN and not batch and self.unit is not None:
            scaled = F.batch_norm(x, self.running_mean, self.unit, weight, None, False, 0.0, 0.0)
            return scaled / (var + eps).sqrt() + bias
        scale = weight.view(-1, 1, 1) / (var + eps).sqrt()
        if p == _BN and self.offset is not None:
            return x * scale + bias
        if p == _IN:
            return centred * scale + bias
        return (x - self._mix_means(mean_in, running_mean)) * scale + bias

    def _bessel_factor(self, x: Tensor) -> float:
        positions = x.shape[2] * x.shape[3]
        if self.correction == 0:
            return 1.0
        if positions == 1:
            raise ValueError(
                f"Bessel-corrected variance needs at least 2 positions, got {tuple(x.shape)}"
            )
        return positions / (positions - 1)

    def _mix_means(self, mean_in: Tensor, running_mean: Tensor | None) -> Tensor:
        terms = [
            (self.mean_ratios[Normalizer.IN], mean_in),
            (self.mean_ratios[Normalizer.LN], mean_in.mean(1, keepdim=True)),
        ]
        if running_mean is not None:
            terms.append((self.mean_ratios[Normalizer.BN], running_mean.view(-1, 1, 1)))
        return _weighted_sum(terms)

    def _mix_vars(
        self, mean_in: Tensor, var_in: Tensor, factor: float, running_var: Tensor | None
    ) -> Tensor:
        corrected = var_in if factor == 1.0 else var_in * factor
        terms = [(self.var_ratios[Normalizer.IN], corrected)]
        if self.var_ratios[Normalizer.LN]:
            for shift in (self.offset, self.centre):
                if shift is not None:  # LN's variance is not invariant to a shift per channel
                    mean_in = mean_in + shift.view(-1, 1, 1)
            spread = mean_in - mean_in.mean(1, keepdim=True)
            within = var_in.mean(1, keepdim=True)
            within = within if factor == 1.0 else within * factor
            total = within + (spread * spread).mean(1, keepdim=True)
            terms.append((self.var_ratios[Normalizer.LN], total))
        if running_var is not None:
            terms.append((self.var_ratios[Normalizer.BN], running_var.view(-1, 1, 1)))
        return _weighted_sum(terms)

    def _batch_statistics(self, mean_in: Tensor, var_in: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = pooled_moments(mean_in, var_in, dim=0)
        with torch.no_grad():
            for running, new in ((self.running_mean, mean), (self.running_var, var)):
                if running is not None:
                    running.lerp_(new.detach().flatten(), self.momentum)
        return mean, var

    def extra_repr(self) -> str:
        """Show the ratios and the kind of variance."""
        return (
            f"{self.weight.numel()}, mean={self.mean_ratios}, var={self.var_ratios}, "
            f"eps={self.eps}, correction={self.correction}, folded={self.offset is not None}"
        )


def _weighted_sum(terms: list[tuple[float, Tensor]]) -> Tensor:
    """Sum of ratio times statistic over the non-zero ratios; a ratio of 1 costs no operation."""
    used = [value if ratio == 1.0 else ratio * value for ratio, value in terms if ratio]
    total = used[0]
    for value in used[1:]:
        total = total + value
    return total
