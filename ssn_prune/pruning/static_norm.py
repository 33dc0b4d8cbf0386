r"""Normalizers that use running statistics only.

With the scale :math:`s = w / \sqrt{\mathrm{running\_var} + \epsilon}` such a normalizer is the
affine map :math:`x s + t`, :math:`t = \beta - \mathrm{running\_mean}\, s`, per channel. Everything
is computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ssn_prune.nn.switchable import SwitchableNorm

Affine = tuple[Tensor | None, Tensor | None]
"""Weight and bias, each of shape (C,), or None for ones and zeros respectively."""


def running_statistics(norm: SwitchableNorm | _BatchNorm) -> tuple[Tensor, Tensor] | None:
    """Running mean and variance, each (C,); None if the module keeps none."""
    mean, var = norm.running_mean, norm.running_var
    return None if mean is None or var is None else (mean, var)


def required_statistics(norm: SwitchableNorm | _BatchNorm) -> tuple[Tensor, Tensor]:
    """Running mean and variance of a layer that uses BN; the planner has checked for them."""
    found = running_statistics(norm)
    assert found is not None
    return found


def static_scale(weight: Tensor, running_var: Tensor, eps: float) -> Tensor:
    """The scale weight / sqrt(running_var + eps), in float64, shape (C,)."""
    return weight.double() / (running_var.double() + eps).sqrt()


def static_shift(bias: Tensor | None, running_mean: Tensor, scale: Tensor) -> Tensor:
    """The shift bias - running_mean * scale of a static normalizer, in float64, shape (C,)."""
    shift = -running_mean.double() * scale.double()
    return shift if bias is None else shift + bias.double()


def own_affine(norm: SwitchableNorm | _BatchNorm) -> Affine:
    """Weight and bias of a module, detached."""
    weight, bias = norm.weight, norm.bias
    return None if weight is None else weight.detach(), None if bias is None else bias.detach()


def scale_of(norm: SwitchableNorm | _BatchNorm, affine: Affine) -> Tensor:
    """The scale of a normalizer with a BN variance, in float64, shape (C,).

    Args:
        norm: torch's BatchNorm, or a switchable layer.
        affine: Its weight and bias, including what it absorbs.
    """
    _, var = required_statistics(norm)
    weight = torch.ones_like(var) if affine[0] is None else affine[0]
    return static_scale(weight, var, norm.eps)


def static_affine(
    norm: SwitchableNorm | _BatchNorm, affine: Affine | None = None
) -> tuple[Tensor, Tensor]:
    """Scale and shift of a normalizer that uses only running statistics, in float64.

    Args:
        norm: torch's BatchNorm, or a switchable layer that selected BN/BN.
        affine: Weight and bias to take instead of its own.
    """
    affine = affine or own_affine(norm)
    scale = scale_of(norm, affine)
    return scale, static_shift(affine[1], required_statistics(norm)[0], scale)
