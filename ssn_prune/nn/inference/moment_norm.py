r"""Any fixed mixture of IN, LN and BN, computing only the statistics with a non-zero ratio.

For a Bessel-corrected variance of n values, :math:`f = n/(n-1)` turns a biased variance v into f v,
and

.. math:: w / \sqrt{f v + \epsilon} = (w / \sqrt f) / \sqrt{v + \epsilon / f},

so a corrected instance norm is a plain one with other constants, which are exact for that n only.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune.nn._algebra import NormSettings
from ssn_prune.nn.axes import (
    channel_mean,
    in_dtype_of,
    normalize_channels,
    per_channel,
    require_dims,
    spatial_mean,
)
from ssn_prune.nn.functional import switchable_norm
from ssn_prune.nn.inference.bessel import bessel_factors
from ssn_prune.nn.inference.mixing import Measured, as_computed, weighted_sum
from ssn_prune.nn.plane_norm import update_running
from ssn_prune.nn.planes import HALVES
from ssn_prune.nn.variance_kind import FROM_PLANES, OWN_COUNT
from ssn_prune.normalizer import Normalizer

_IN, _LN, _BN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class MomentNorm(nn.Module):
    """Any fixed mixture of the three normalizers; one-hot ratios give the mixed pairs.

    In training mode BN uses the statistics of the batch, and the running ones are updated.

    Args:
        num_features: C.
        weight: Shape (C,), or None for ones.
        bias: Shape (C,), or None for zeros.
        running: Running mean and variance, both (C,), and the number of batches that they were
            updated with, a scalar; may be None if no ratio uses BN.
        eps: Added to the variance.
        momentum: torch's convention; None for the plain average over all batches.
        correction: The kind of variance; see :mod:`ssn_prune.nn.variance_kind`.
        mean_ratios: Weights of the IN, LN and BN means.
        var_ratios: Weights of the IN, LN and BN variances.
        offset: If given, shape (C,): constants that the preceding convolution has already
            subtracted; ``running`` is then relative to them. For inference only.
        centre: If given, shape (C,): subtracted by the layer itself before everything else, which
            changes nothing but the rounding; ``running`` is relative to it too. For inference only.
    """

    dims: ClassVar[tuple[int, ...]]
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    offset: Tensor | None
    centre: Tensor | None
    zero: Tensor
    unit: Tensor

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
        uses_bn = bool(mean_ratios[Normalizer.BN] or var_ratios[Normalizer.BN])
        kept = running if uses_bn and running is not None else (None, None, None)
        names = ("running_mean", "running_var", "num_batches_tracked")
        for name, value in zip(names, kept, strict=True):
            self._hold(name, value)
        self._hold("offset", offset)
        self._hold("centre", centre)
        # Constants in place of statistics and of a weight; not part of the state dict.
        self.register_buffer("zero", torch.zeros(num_features), persistent=False)
        self.register_buffer("unit", torch.ones(num_features), persistent=False)

    def _hold(self, name: str, value: Tensor | None) -> None:
        if value is None:  # no empty buffer: torch.export miscounts those of a root module
            setattr(self, name, None)
        else:
            self.register_buffer(name, value)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *).

        Raises:
            ValueError: A Bessel-corrected variance is over a single value, or the input has another
                number of dimensions.
        """
        require_dims(input, self.dims)
        if self.training and self.running_var is not None:
            return self._trained(input)
        half = input.dtype in HALVES  # squares overflow half precision
        return self._normalized(input.float()).to(input.dtype) if half else self._normalized(input)

    def _trained(self, input: Tensor) -> Tensor:
        """Normalize with the batch's own statistics, as the switchable layers do."""
        x = input.unsqueeze(-1) if input.dim() == 2 else input
        bessel_factors(x, self.correction, self.var_ratios)  # refuses what is undefined
        settings = NormSettings(self.eps, tuple(Normalizer), self.correction)
        p, q = (
            torch.tensor(ratios, dtype=torch.float64, device=x.device)
            for ratios in (self.mean_ratios, self.var_ratios)
        )
        y, batch = switchable_norm(x, self.weight, self.bias, (p, q), None, settings)
        assert batch is not None  # BN is among the normalizers and uses the batch
        update_running(self, batch)
        return y.squeeze(-1) if input.dim() == 2 else y

    def _normalized(self, x: Tensor) -> Tensor:
        if self.centre is not None:
            x = x - per_channel(in_dtype_of(x, self.centre), x)
        mean_in = spatial_mean(x)
        running_var = as_computed(self.running_var, x)
        if self.var_ratios == _BN and running_var is not None:
            centred = x - self._mix_means(mean_in)
            zero, bias = in_dtype_of(x, self.zero), as_computed(self.bias, x)
            return normalize_channels(centred, zero, running_var, self._weight(x), bias, self.eps)
        measured = self._measured(x, mean_in)
        weight, bias = self._weight(x, measured.shrink), as_computed(self.bias, x)
        deviation = (measured.var + measured.eps).sqrt()
        if self.mean_ratios == _BN and self.running_mean is not None:  # the weight in the same pass
            mean, unit = in_dtype_of(x, self.running_mean), in_dtype_of(x, self.unit)
            y = F.batch_norm(x, mean, unit, weight, None, False, 0.0, 0.0) / deviation
        else:
            y = self._centred(x, mean_in, measured) * (per_channel(weight, x) / deviation)
        return y if bias is None else y + per_channel(bias, x)

    def _measured(self, x: Tensor, mean_in: Tensor) -> Measured:
        """The mixed variance, and what has been subtracted from x to square it.

        An LN variance needs only one pass if its own mean is subtracted. An IN mean needs that of
        each plane, and so does a corrected variance.
        """
        p, q = self.mean_ratios, self.var_ratios
        factor, layer_factor = bessel_factors(x, self.correction, self.var_ratios)
        if q == _LN and p != _IN and self.correction != FROM_PLANES:
            centred = x - self._layer_mean(mean_in)
            var = channel_mean(spatial_mean(centred * centred))
            return self._corrected(Measured(centred, _LN, var, self.eps), layer_factor)
        centred = x - mean_in
        squares = spatial_mean(centred * centred)
        if q == _IN:
            return self._corrected(Measured(centred, _IN, squares, self.eps), factor)
        mixed = self._mix_vars(mean_in, squares, factor, layer_factor)
        return Measured(centred, _IN, mixed, self.eps)

    @staticmethod
    def _corrected(measured: Measured, factor: float | Tensor) -> Measured:
        """A biased variance times a factor; a known factor costs nothing at run time."""
        if not isinstance(factor, float):
            return measured._replace(var=measured.var * factor)
        return measured._replace(eps=measured.eps / factor, shrink=1 / math.sqrt(factor))

    def _centred(self, x: Tensor, mean_in: Tensor, measured: Measured) -> Tensor:
        if self.mean_ratios == measured.point:
            return measured.centred
        if self.mean_ratios == _BN:  # already subtracted by the preceding convolution
            return x
        return x - self._mix_means(mean_in)

    def _weight(self, x: Tensor, shrink: float = 1.0) -> Tensor:
        weight = self.unit if self.weight is None else self.weight
        weight = in_dtype_of(x, weight)
        return weight if shrink == 1.0 else weight * shrink

    def _layer_mean(self, mean_in: Tensor) -> Tensor:
        """The LN mean, relative to what has been subtracted from each channel."""
        mean = channel_mean(mean_in)
        for shift in (self.offset, self.centre):
            if shift is not None:
                mean = mean + per_channel(in_dtype_of(mean, shift.mean() - shift), mean)
        return mean

    def _mix_means(self, mean_in: Tensor) -> Tensor:
        running_mean, ratios = as_computed(self.running_mean, mean_in), self.mean_ratios
        terms = [(ratios[Normalizer.IN], mean_in)]
        if ratios[Normalizer.LN]:
            terms.append((ratios[Normalizer.LN], self._layer_mean(mean_in)))
        if running_mean is not None:
            terms.append((ratios[Normalizer.BN], per_channel(running_mean, mean_in)))
        return weighted_sum(terms)

    def _mix_vars(
        self, mean_in: Tensor, var_in: Tensor, factor: float | Tensor, layer_factor: float | Tensor
    ) -> Tensor:
        corrected = var_in * factor if self.correction else var_in  # no product by 1 in the file
        running_var, ratios = as_computed(self.running_var, mean_in), self.var_ratios
        terms = [(ratios[Normalizer.IN], corrected)]
        if ratios[Normalizer.LN]:
            spread = mean_in - self._layer_mean(mean_in)
            own = self.correction == OWN_COUNT
            total = channel_mean((var_in if own else corrected) + spread * spread)
            total = total * layer_factor if own else total
            terms.append((ratios[Normalizer.LN], total))
        if running_var is not None:
            terms.append((ratios[Normalizer.BN], per_channel(running_var, mean_in)))
        return weighted_sum(terms)

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
