r"""Affine modules into the weight and bias of the preceding layer.

A layer with BN/BN is the map x s + t per channel (``pruning/static_norm.py``). After another
switchable layer with weight w and bias :math:`\beta`, it becomes part of that layer's parameters:

==========  ================  ===============
w becomes   beta becomes      what is left
==========  ================  ===============
w s         beta s + t        nothing
==========  ================  ===============

The same holds, after any switchable layer, for torch's BatchNorm in evaluation mode and for modules
that only scale or shift channels (LayerScale). What a layer absorbs changes its scale, so that is
decided before the layer's own scale is folded.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.capture.records import AffineCall
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.plan import IDENTITY, AffineStep, Fold
from ssn_prune.pruning.static_norm import Affine, own_affine, running_statistics, static_affine
from ssn_prune.surgery.copying import has_hooks

CODE = "absorbed_by_preceding_norm"


def check(context: FoldContext, layer: Candidate) -> Fold | None:
    """Whether the layer is the only user of every output of another one that has no fold."""
    preceding = context.only_producer(layer.name)
    if preceding is None or has_hooks(context.candidates[preceding].module):
        return None
    absorbing = context.absorbing_layer(preceding)
    if context.decisions[absorbing].fold is not None:
        return None
    decision = context.decisions[layer.name]
    context.absorb(preceding, [AffineStep(layer.name, "batch_norm"), *decision.absorbs])
    decision.absorbs = []
    return Fold(CODE, absorbing, IDENTITY)


def absorb_affine_modules(context: FoldContext, layer: Candidate) -> None:
    """Decide which affine modules after a layer become part of it: all of them, or none."""
    calls = context.calls(layer.name)
    if not calls or has_hooks(layer.module):
        return
    affines = calls[0].affines
    if any(call.affines != affines for call in calls):
        return
    if not all(_is_removable(context, affine, len(calls)) for affine in affines):
        return
    context.without_affines.add(layer.name)
    if affines:
        steps = [AffineStep(affine.module, affine.operator) for affine in affines]
        context.absorb(layer.name, steps)


def _is_removable(context: FoldContext, affine: AffineCall, calls: int) -> bool:
    module = context.network.get_submodule(affine.module)
    owners = context.captured.owners.get(affine.tensor, ())
    alone = len(owners) == 1 and context.captured.uses.get(affine.tensor) == calls
    return alone and not has_hooks(module) and _is_computable(module)


def _is_computable(module: nn.Module) -> bool:
    """Whether a module's tensors can be folded: floating point, and with running statistics."""
    if isinstance(module, _BatchNorm):
        return running_statistics(module) is not None
    return all(tensor.is_floating_point() for tensor in module.parameters())


def planned_affine(context: FoldContext, layer: Candidate) -> Affine:
    """Weight and bias of a layer, including what it absorbs by the decisions so far."""
    steps = context.decisions[layer.name].absorbs
    return effective_affine(layer.module, steps, context.network)


def effective_affine(
    norm: SwitchableNorm, steps: Iterable[AffineStep], network: nn.Module
) -> Affine:
    """Weight and bias of a layer, including what it absorbs.

    Args:
        norm: The layer.
        steps: What it absorbs, in order.
        network: The network that holds the absorbed modules.

    Returns:
        The layer's own tensors if it absorbs nothing, else float64 tensors.
    """
    affine = own_affine(norm)
    for step in steps:
        affine = _after(affine, step, network.get_submodule(step.module))
    return affine


def _after(affine: Affine, step: AffineStep, module: nn.Module) -> Affine:
    if step.operator == "batch_norm":
        assert isinstance(module, SwitchableNorm | _BatchNorm)  # the check's condition
        scale, shift = static_affine(module)
    else:
        held = next(iter([*module.parameters(), *module.buffers()])).detach().flatten().double()
        neutral = torch.full_like(held, float(step.operator == "add"))
        scale, shift = (held, neutral) if step.operator == "mul" else (neutral, held)
    weight, bias = affine
    weight = scale if weight is None else weight.double() * scale
    return weight, shift if bias is None else bias.double() * scale + shift
