"""The rewrite: apply a plan to a copy of the network. It makes no decisions of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssn_prune.graph.forms import FoldKind, Form
from ssn_prune.graph.plan import Fold, LayerPlan, Plan
from ssn_prune.layers.concrete import (
    GroupNorm,
    InstanceCentre2d,
    InstanceNorm2d,
    LayerCentre2d,
    MomentNorm2d,
)
from ssn_prune.layers.copying import carry_hooks, copy_model, replace_module
from ssn_prune.layers.switchable import SwitchableNorm
from ssn_prune.math.folding import folded_bias, scale_output_channels, static_scale
from ssn_prune.normalizer import Normalizer


def apply_plan(plan: Plan, model: nn.Module) -> nn.Module:
    """Apply a plan; ``model`` is never changed.

    Args:
        plan: Made for this network; its tensors may since have been cast to another dtype.
        model: The network.

    Returns:
        A copy in which every planned layer is concrete. Fold arithmetic is done in float64 and cast
        once to each tensor's dtype.
    """
    pruned = copy_model(model)
    for layer in plan.layers:
        module = pruned.get_submodule(layer.name)
        assert isinstance(module, SwitchableNorm)  # the plan was made for this network
        with torch.no_grad():
            concrete = _concrete(layer, module)
            if layer.fold is not None:
                _edit_conv(pruned.get_submodule(layer.fold.conv), layer, layer.fold, module)
        concrete.train(module.training)
        carry_hooks(module, concrete)
        pruned = replace_module(pruned, module, concrete)
    return pruned


def _concrete(layer: LayerPlan, module: SwitchableNorm) -> nn.Module:
    weight, bias = module.weight.detach(), module.bias.detach()
    if layer.form is Form.IDENTITY:
        return nn.Identity()
    if layer.form is Form.INSTANCE_NORM:
        return _instance_norm(layer, module)
    if layer.form is Form.INSTANCE_CENTRE:
        return InstanceCentre2d(bias.clone())
    if layer.form is Form.LAYER_CENTRE:
        assert module.running_var is not None  # BN is selected, so it is offered
        scale = static_scale(weight, module.running_var, module.eps)
        coefficient = 1 / (module.num_features * scale)
        return LayerCentre2d(scale.to(weight), coefficient.to(weight), bias.clone())
    if layer.form is Form.GROUP_NORM:
        group_norm = GroupNorm(module.num_features, module.eps)
        return _with_affine(group_norm.to(weight), weight, bias)
    if layer.form is Form.BATCH_NORM:
        batch_norm = nn.BatchNorm2d(module.num_features, eps=module.eps, momentum=module.momentum)
        batch_norm = batch_norm.to(weight)
        for name in ("running_mean", "running_var"):
            batch_norm.get_buffer(name).copy_(module.get_buffer(name))
        return _with_affine(batch_norm, weight, bias)
    folded_mean = layer.fold is not None and layer.fold.kind is FoldKind.MEAN
    return MomentNorm2d(
        weight.clone(),
        bias.clone(),
        _clone(module.running_mean),
        _clone(module.running_var),
        eps=module.eps,
        momentum=0.1 if module.momentum is None else module.momentum,
        correction=layer.correction,
        mean_ratios=layer.mean_ratios,
        var_ratios=layer.var_ratios,
        offset=_clone(module.running_mean) if folded_mean else None,
        centre=_own_centre(layer, weight),
    )


def _instance_norm(layer: LayerPlan, module: SwitchableNorm) -> nn.Module:
    """IN/IN; with correction the factor f = n/(n-1) goes into weight and eps."""
    weight, eps = module.weight.detach(), module.eps
    positions = layer.positions if layer.correction else None
    if positions is not None:
        factor = positions / (positions - 1)
        weight, eps = (weight.double() / factor**0.5).to(weight), eps / factor
    instance_norm = InstanceNorm2d(module.num_features, eps, positions, _own_centre(layer, weight))
    return _with_affine(instance_norm.to(weight), weight, module.bias.detach())


def _centre_of(layer: LayerPlan, like: Tensor) -> Tensor:
    return torch.tensor(layer.centre, dtype=torch.float64, device=like.device)


def _own_centre(layer: LayerPlan, like: Tensor) -> Tensor | None:
    """The constants that the layer subtracts itself, because no convolution does."""
    subtracts = layer.centre is not None and layer.fold is None
    return _centre_of(layer, like).to(like) if subtracts else None


def _with_affine(target: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    target.get_parameter("weight").copy_(weight)
    target.get_parameter("bias").copy_(bias)
    return target


def _edit_conv(conv: nn.Module, layer: LayerPlan, fold: Fold, module: SwitchableNorm) -> None:
    """The table of math/folding.py, row by row."""
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)  # the planner's condition
    assert layer.pair is not None  # weighted forms fold nothing
    mean = module.running_mean
    if layer.centre is not None:
        mean = _centre_of(layer, conv.weight)
    if fold.kind in (FoldKind.CENTRE, FoldKind.MEAN):
        bias = folded_bias(conv.bias, mean=mean, shift=None)
    else:
        assert module.running_var is not None  # BN is selected, so it is offered
        scale = static_scale(module.weight, module.running_var, module.eps)
        if layer.pair.mean is Normalizer.LN:
            mean = None  # it depends on the input: LayerCentre2d computes it
        shift = module.bias if fold.kind is FoldKind.ALL else None
        bias = folded_bias(conv.bias, mean=mean, scale=scale, shift=shift)
        conv.weight.copy_(
            scale_output_channels(
                conv.weight, scale, transposed=fold.transposed, groups=conv.groups
            )
        )
    conv.bias = None if bias is None else nn.Parameter(bias.to(conv.weight))


def _clone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
