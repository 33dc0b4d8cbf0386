"""Helpers of the forms' builders: affine parameters and centring constants."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine, required_statistics

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def cast(value: Tensor | None, like: Tensor) -> Tensor | None:
    """A copy in the precision and on the device of another tensor."""
    return None if value is None else value.to(like, copy=True)


def is_affine(affine: Affine) -> bool:
    """Whether there is a weight or a bias."""
    return any(value is not None for value in affine)


def with_affine(target: ModuleT, weight: Tensor | None, bias: Tensor | None) -> ModuleT:
    """Fill the affine parameters of one of torch's normalizers, in place, and return it."""
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            target.get_parameter(name).copy_(value)
    return target


def centring_constants(layer: LayerPlan, like: Tensor) -> Tensor | None:
    """The centring constants of a layer, (C,), float64; None if it has none."""
    if layer.centre is None:
        return None
    return torch.tensor(layer.centre, dtype=torch.float64, device=like.device)


def own_centre(layer: LayerPlan, like: Tensor) -> Tensor | None:
    """The constants that the layer subtracts itself because no convolution does, (C,), or None."""
    constants = centring_constants(layer, like) if layer.fold is None else None
    return None if constants is None else constants.to(like)


def subtracted_mean(layer: LayerPlan, norm: SwitchableNorm) -> Tensor | None:
    """What a convolution has already subtracted of a BN mean, (C,), float64; None if nothing.

    That is the running mean unless other constants were chosen.
    """
    folded = layer.pair is not None and layer.pair.mean is Normalizer.BN and layer.fold is not None
    if not folded:
        return None
    running_mean, _ = required_statistics(norm)
    constants = centring_constants(layer, running_mean)
    return running_mean.double() if constants is None else constants
