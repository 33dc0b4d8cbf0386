r"""Any fixed mixture of IN, LN and BN, computing only the statistics with a non-zero ratio.

For a Bessel-corrected variance, :math:`f = n/(n-1)` turns a biased variance v into f v, and

.. math:: w / \sqrt{f v + \epsilon} = (w / \sqrt f) / \sqrt{v + \epsilon / f},

so a corrected instance norm is a plain one with other constants, exact for that n only.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune.layers.axes import per_channel, require_dims, spatial_mean
from ssn_prune.layers.plane_norm import update_running
from ssn_prune.math.mixing import NormSettings
from ssn_prune.math.planes import HALVES, positions_of
from ssn_prune.math.switchable_norm import switchable_norm
from ssn_prune.normalizer import Normalizer

_IN, _LN, _BN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class MomentNorm(nn.Module):
    """Any fixed mixture of the three normalizers; one-hot ratios give the mixed pairs.

    In training mode BN's statistics are those of the batch and the running ones are updated.

    Args:
        num_features: C.
        weight: Shape (C,), or None for ones.
        bias: Shape (C,), or None for zeros.
        running: Running mean and variance, both (C,), and the number of batches that they were
            updated with, a scalar; may be None if no ratio uses BN.
        eps: Added to the variance.
        momentum: torch's convention; None for the plain average over all batches.
        correction: 1 for Bessel-corrected instance variances.
        mean_ratios: Weights of the IN, LN and BN means.
        var_ratios: Weights of the IN, LN and BN variances.
        offset: If given, shape (C,): the running mean, already subtracted from the input by the
            convolution in front. The layer is then for inference only.
        centre: If given, shape (C,): subtracted by the layer itself before everything else, which
            changes nothing but the rounding. For an IN mean and for inference only.
    """

    dims: ClassVar[tuple[int, ...]]
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    offset: Tensor | None
    centre: Tensor | None
    unit: Tensor | None
    zero: Tensor | None

    def __init__(
        self,
        num_features: int,
        weight: Tensor | None,
        bias: Tensor | None,
        running: tuple[Tensor, Tensor, Tensor] | None,
        *,
        eps: float,
        momentum: float | None,
        correction: int,
        mean_ratios: tuple[float, float, float],
        var_ratios: tuple[float, float, float],
        offset: Tensor | None = None,
        centre: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.eps = eps
        self.momentum = momentum
        self.correction = correction
        self.mean_ratios = mean_ratios
        self.var_ratios = var_ratios
        uses_bn = bool(mean_ratios[Normalizer.BN] or var_ratios[Normalizer.BN]) and offset is None
        kept = running if uses_bn and running is not None else (None, None, None)
        names = ("running_mean", "running_var", "num_batches_tracked")
        for name, value in zip(names, kept, strict=True):
            self._hold(name, value)
        self._hold("offset", offset)
        self._hold("centre", centre)
        # Constants of the BatchNormalization nodes below; not part of the state dict.
        static_scale = var_ratios == _BN
        static_mean = mean_ratios == _BN and offset is None and not static_scale
        needs_unit = static_mean or weight is None
        self._hold("zero", torch.zeros(num_features) if static_scale else None, persistent=False)
        self._hold("unit", torch.ones(num_features) if needs_unit else None, persistent=False)

    def _hold(self, name: str, value: Tensor | None, *, persistent: bool = True) -> None:
        if value is None:  # no empty buffer: torch.export miscounts those of a root module
            setattr(self, name, None)
        else:
            self.register_buffer(name, value, persistent=persistent)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *).

        Raises:
            ValueError: A Bessel-corrected instance or layer variance over one position, or an input
                of other dimensions.
        """
        require_dims(input, self.dims)
        if self.training and self.running_var is not None:
            return self._trained(input)
        half = input.dtype in HALVES  # squares overflow half precision
        return self._normalized(input.float()).to(input.dtype) if half else self._normalized(input)

    def _trained(self, input: Tensor) -> Tensor:
        """With the batch's own statistics: the computation of the switchable layers."""
        x = input.unsqueeze(-1) if input.dim() == 2 else input
        self._bessel_factor(x)  # refuses what is undefined
        settings = NormSettings(self.eps, tuple(Normalizer), self.correction)
        p, q = (
            torch.tensor(ratios, dtype=torch.float64, device=x.device)
            for ratios in (self.mean_ratios, self.var_ratios)
        )
        y, mean, var = switchable_norm(x, self.weight, self.bias, (p, q), None, settings)
        assert mean is not None  # BN is among the normalizers and uses the batch
        assert var is not None
        update_running(self, mean, var)
        return y.squeeze(-1) if input.dim() == 2 else y

    def _normalized(self, x: Tensor) -> Tensor:
        centre, weight, bias = _as(self.centre, x), _as(self.weight, x), _as(self.bias, x)
        running_mean, running_var = _as(self.running_mean, x), _as(self.running_var, x)
        unit, zero = _as(self.unit, x), _as(self.zero, x)
        if centre is not None:
            x = x - per_channel(centre, x)
        p, q = self.mean_ratios, self.var_ratios
        if q == _BN and zero is not None:
            centred = x - self._mix_means(spatial_mean(x), running_mean)
            return F.batch_norm(centred, zero, running_var, weight, bias, False, 0.0, self.eps)
        factor = self._bessel_factor(x)
        mean_in = spatial_mean(x)
        centred = x - mean_in
        var_in = spatial_mean(centred * centred)
        scale = weight if weight is not None else unit
        assert scale is not None  # there is a unit where there is no weight
        eps = self.eps
        if q == _IN and isinstance(factor, float):  # no multiplication at run time: see the formula
            scale, eps, var = scale / math.sqrt(factor), eps / factor, var_in
        else:
            var = self._mix_vars(mean_in, var_in, factor, running_var)
        if p == _BN and self.offset is None:
            scaled = F.batch_norm(x, running_mean, unit, scale, None, False, 0.0, 0.0)
            y = scaled / (var + eps).sqrt()
        else:
            if p == _IN:
                x = centred
            elif p != _BN or self.offset is None:
                x = x - self._mix_means(mean_in, running_mean)
            y = x * (per_channel(scale, x) / (var + eps).sqrt())
        return y if bias is None else y + per_channel(bias, x)

    def _bessel_factor(self, x: Tensor) -> float | Tensor:
        """n/(n-1); a tensor where n is open, so that the exported graph computes it."""
        positions: int | torch.SymInt = positions_of(x)
        if self.correction == 0:
            return 1.0
        if positions == 1:
            raise ValueError(
                f"Bessel-corrected variance needs at least 2 positions, got {tuple(x.shape)}"
            )
        if isinstance(positions, int):
            return positions / (positions - 1)
        count = torch.scalar_tensor(positions, dtype=x.dtype, device=x.device)
        return count / (count - 1)

    def _mix_means(self, mean_in: Tensor, running_mean: Tensor | None) -> Tensor:
        terms = [
            (self.mean_ratios[Normalizer.IN], mean_in),
            (self.mean_ratios[Normalizer.LN], mean_in.mean(1, keepdim=True)),
        ]
        if running_mean is not None:
            terms.append((self.mean_ratios[Normalizer.BN], per_channel(running_mean, mean_in)))
        return _weighted_sum(terms)

    def _mix_vars(
        self, mean_in: Tensor, var_in: Tensor, factor: float | Tensor, running_var: Tensor | None
    ) -> Tensor:
        corrected = var_in * factor if self.correction else var_in
        terms = [(self.var_ratios[Normalizer.IN], corrected)]
        if self.var_ratios[Normalizer.LN]:
            for shift in (_as(self.offset, mean_in), _as(self.centre, mean_in)):
                if shift is not None:  # LN's variance is not invariant to a shift per channel
                    mean_in = mean_in + per_channel(shift, mean_in)
            spread = mean_in - mean_in.mean(1, keepdim=True)
            within = var_in.mean(1, keepdim=True)
            within = within * factor if self.correction else within
            total = within + (spread * spread).mean(1, keepdim=True)
            terms.append((self.var_ratios[Normalizer.LN], total))
        if running_var is not None:
            terms.append((self.var_ratios[Normalizer.BN], per_channel(running_var, mean_in)))
        return _weighted_sum(terms)

    def extra_repr(self) -> str:
        """Show the ratios and the kind of variance."""
        return (
            f"{self.num_features}, mean={self.mean_ratios}, var={self.var_ratios}, "
            f"eps={self.eps}, correction={self.correction}, folded={self.offset is not None}"
        )


class MomentNorm1d(MomentNorm):
    """Over (N, C) or (N, C, L); see :class:`MomentNorm`."""

    dims = (2, 3)


class MomentNorm2d(MomentNorm):
    """Over (N, C, H, W); see :class:`MomentNorm`."""

    dims = (4,)


class MomentNorm3d(MomentNorm):
    """Over (N, C, D, H, W); see :class:`MomentNorm`."""

    dims = (5,)


def _as(value: Tensor | None, x: Tensor) -> Tensor | None:
    """A tensor of the layer in the precision of the computation."""
    return value if value is None or value.dtype == x.dtype else value.to(x.dtype)


def _weighted_sum(terms: list[tuple[float, Tensor]]) -> Tensor:
    """Sum of ratio times statistic over the non-zero ratios; a ratio of 1 costs no operation."""
    used = [value if ratio == 1.0 else ratio * value for ratio, value in terms if ratio]
    total = used[0]
    for value in used[1:]:
        total = total + value
    return total
