"""Bessel's correction of the variances that a layer computes at inference."""

from __future__ import annotations

import torch
from torch import Tensor

from ssn_prune.nn.planes import positions_of
from ssn_prune.nn.variance_kind import FROM_PLANES, OWN_COUNT
from ssn_prune.normalizer import Normalizer


def bessel_factors(
    x: Tensor, correction: int, var_ratios: tuple[float, float, float]
) -> tuple[float | Tensor, float | Tensor]:
    """The factors of a biased IN variance, and of an LN variance that is pooled from biased ones.

    Args:
        x: The input, (N, C, ...).
        correction: The kind of variance; see :mod:`ssn_prune.nn.variance_kind`.
        var_ratios: Weights of the IN, LN and BN variances; with OWN_COUNT, a variance whose weight
            is zero gets no factor.

    Raises:
        ValueError: A variance that is used is over a single value.
    """
    positions = positions_of(x)
    if correction == FROM_PLANES:
        return bessel_factor(positions, x), 1.0
    if correction == OWN_COUNT:
        return (
            bessel_factor(positions, x) if var_ratios[Normalizer.IN] else 1.0,
            bessel_factor(positions * x.shape[1], x) if var_ratios[Normalizer.LN] else 1.0,
        )
    return 1.0, 1.0


def bessel_factor(count: int | torch.SymInt, x: Tensor) -> float | Tensor:
    """n/(n-1); a tensor where n is dynamic, so that the exported graph computes it."""
    if count == 1:
        raise ValueError(
            f"Bessel-corrected variance needs at least 2 positions, got {tuple(x.shape)}"
        )
    if isinstance(count, int):
        return count / (count - 1)
    values = torch.scalar_tensor(count, dtype=x.dtype, device=x.device)
    return values / (values - 1)
