"""The rewrite: apply a plan to a network. It makes no decisions of its own."""

from __future__ import annotations

import torch
from torch import nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.pruning.folds.absorbed import effective_affine
from ssn_prune.pruning.folds.edited_kernel import EditedKernel
from ssn_prune.pruning.folds.table import rule_of
from ssn_prune.pruning.forms.table import FORMS
from ssn_prune.pruning.plan import LayerPlan, Plan
from ssn_prune.pruning.static_norm import Affine
from ssn_prune.surgery._shared_parameters import shared_copy
from ssn_prune.surgery.copying import copy_replacing


def apply_plan(plan: Plan, model: nn.Module) -> nn.Module:
    """Apply a plan to a copy of ``model``, which is not changed.

    Tensors that the plan does not change share their memory with ``model``. So the result is only
    for running or exporting: training it would also train ``model``.

    Args:
        plan: Made for this network; its tensors may since have been cast to another dtype.
        model: The network.

    Returns:
        A copy in which every planned layer is a concrete normalizer.
    """
    return rewrite(plan, shared_copy(model))


def rewrite(plan: Plan, network: nn.Module) -> nn.Module:
    """Apply a plan to a network that is used up.

    Fold arithmetic is done in float64 and cast once to each kernel's dtype. A changed kernel gets
    new memory, and its old memory is released at once if nothing else holds it.

    Args:
        plan: Made for this network; its tensors may since have been cast to another dtype.
        network: Owned by the caller. It is changed and must not be used afterwards.

    Returns:
        The network in which every planned layer is concrete, with the tensors of ``network``.
    """
    layers = sorted(plan.layers, key=lambda layer: layer.order)
    norms = {layer.name: _switchable(network.get_submodule(layer.name)) for layer in layers}
    with torch.no_grad():
        # Read before anything is replaced: an absorbed layer is gone when its turn comes.
        affines = {
            layer.name: effective_affine(norms[layer.name], layer.absorbs, network)
            for layer in layers
        }
        replaced: list[tuple[nn.Module, nn.Module]] = []
        for layer in layers:
            norm, affine = norms[layer.name], affines[layer.name]
            replaced.append((norm, _concrete(layer, norm, affine)))
            _apply_fold(layer, norm, affine, network)
    for step in (step for layer in layers for step in layer.absorbs):
        if step.module not in norms:
            replaced.append((network.get_submodule(step.module), nn.Identity()))
    return copy_replacing(network, replaced)


def _switchable(module: nn.Module) -> SwitchableNorm:
    assert isinstance(module, SwitchableNorm)  # the plan was made for this network
    return module


def _concrete(layer: LayerPlan, norm: SwitchableNorm, affine: Affine) -> nn.Module:
    concrete = FORMS[layer.form].build(layer, norm, affine)
    concrete.train(norm.training)
    return concrete


def _apply_fold(layer: LayerPlan, norm: SwitchableNorm, affine: Affine, network: nn.Module) -> None:
    if layer.fold is None or layer.fold.kernel is None:
        return
    rule = rule_of(layer.fold.code)
    assert rule.apply is not None  # only rules without a kernel have nothing to apply
    rule.apply(layer, norm, affine, EditedKernel(network, layer.fold.kernel))
