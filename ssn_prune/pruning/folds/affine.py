"""Weight and bias of a layer together with what is absorbed from behind it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.folds.algebra import static_scale, static_shift
from ssn_prune.pruning.plan import AffineStep

Affine = tuple[Tensor | None, Tensor | None]
"""Weight and bias, each of shape (C,) or None for ones and zeros."""


def static_affine(
    module: SwitchableNorm | _BatchNorm, affine: Affine | None = None
) -> tuple[Tensor, Tensor]:
    """Scale and shift of a normalizer that uses only running statistics, in float64.

    Args:
        module: torch's BatchNorm, or a switchable layer that selected BN/BN.
        affine: Weight and bias to take instead of its own.
    """
    assert module.running_mean is not None  # the planner's condition
    assert module.running_var is not None
    weight, bias = affine or (module.weight, module.bias)
    weight = torch.ones_like(module.running_var) if weight is None else weight.detach()
    scale = static_scale(weight, module.running_var, module.eps)
    return scale, static_shift(None if bias is None else bias.detach(), module.running_mean, scale)


def effective_affine(
    module: SwitchableNorm, steps: Iterable[AffineStep], model: nn.Module
) -> Affine:
    """Weight and bias of a layer after absorbing what is behind it.

    Args:
        module: The layer.
        steps: What it absorbs, in order.
        model: The network that holds them.

    Returns:
        The layer's own tensors if it absorbs nothing, else float64 ones.
    """
    weight, bias = module.weight, module.bias
    affine: Affine = (
        None if weight is None else weight.detach(),
        None if bias is None else bias.detach(),
    )
    for step in steps:
        affine = _after(affine, step, model.get_submodule(step.module))
    return affine


def _after(affine: Affine, step: AffineStep, module: nn.Module) -> Affine:
    if step.operator == "batch_norm":
        assert isinstance(module, SwitchableNorm | _BatchNorm)  # the planner's condition
        scale, shift = static_affine(module)
    else:
        held = next(iter([*module.parameters(), *module.buffers()])).detach().flatten().double()
        neutral = torch.full_like(held, float(step.operator == "add"))
        scale, shift = (held, neutral) if step.operator == "mul" else (neutral, held)
    weight, bias = affine
    weight = scale if weight is None else weight.double() * scale
    return weight, shift if bias is None else bias.double() * scale + shift
