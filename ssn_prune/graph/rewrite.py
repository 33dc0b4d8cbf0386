"""The rewrite: apply a plan to a copy of the network. It makes no decisions of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.graph.facts import FoldTarget
from ssn_prune.graph.forms import FoldKind, Form, class_of
from ssn_prune.graph.plan import Fold, LayerPlan, Plan
from ssn_prune.layers.axes import channel_weight
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
    make = class_of(layer.form, layer.dimension)
    weight, bias = channel_weight(module), _clone(module.bias)
    if layer.form is Form.IDENTITY:
        return make()
    if layer.form is Form.INSTANCE_NORM:
        return _instance_norm(layer, module)
    if layer.form is Form.INSTANCE_CENTRE:
        return make(bias)
    if layer.form is Form.LAYER_CENTRE:
        assert module.running_var is not None  # BN is selected, so it is offered
        scale = static_scale(weight, module.running_var, module.eps)
        coefficient = 1 / (module.num_features * scale)
        return make(scale.to(weight), coefficient.to(weight), bias)
    if layer.form is Form.GROUP_NORM:
        group_norm = make(module.num_features, module.eps, module.affine)
        return _with_affine(group_norm.to(weight), module.weight, bias)
    if layer.form is Form.BATCH_NORM:
        batch_norm = make(module.num_features, module.eps, module.momentum, module.affine)
        batch_norm = batch_norm.to(weight)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            batch_norm.get_buffer(name).copy_(module.get_buffer(name))
        return _with_affine(batch_norm, module.weight, bias)
    folded_mean = layer.fold is not None and layer.fold.kind is FoldKind.MEAN
    moment_norm = make(
        module.num_features,
        _clone(module.weight),
        bias,
        _running(module),
        eps=module.eps,
        momentum=module.momentum,
        correction=layer.correction,
        mean_ratios=layer.mean_ratios,
        var_ratios=layer.var_ratios,
        offset=_clone(module.running_mean) if folded_mean else None,
        centre=_own_centre(layer, weight),
    )
    return moment_norm.to(weight)


def _running(module: SwitchableNorm) -> tuple[Tensor, Tensor, Tensor] | None:
    mean, var, count = module.running_mean, module.running_var, module.num_batches_tracked
    if mean is None or var is None or count is None:
        return None
    return mean.clone(), var.clone(), count.clone()


def _instance_norm(layer: LayerPlan, module: SwitchableNorm) -> nn.Module:
    """IN/IN; with correction the factor f = n/(n-1) goes into weight and eps.

    A layer without affine parameters then gets constant ones.
    """
    weight, bias, eps = channel_weight(module), _clone(module.bias), module.eps
    positions = layer.positions if layer.correction else None
    if positions is not None:
        factor = positions / (positions - 1)
        weight, eps = (weight.double() / factor**0.5).to(weight), eps / factor
        bias = torch.zeros_like(weight) if bias is None else bias
    make = class_of(layer.form, layer.dimension)
    affine = bias is not None
    instance_norm = make(module.num_features, eps, affine, positions, _own_centre(layer, weight))
    instance_norm = _with_affine(instance_norm.to(weight), weight if affine else None, bias)
    return instance_norm.requires_grad_(module.affine)


def _centre_of(layer: LayerPlan, like: Tensor) -> Tensor:
    return torch.tensor(layer.centre, dtype=torch.float64, device=like.device)


def _own_centre(layer: LayerPlan, like: Tensor) -> Tensor | None:
    """The constants that the layer subtracts itself, because no convolution does."""
    subtracts = layer.centre is not None and layer.fold is None
    return _centre_of(layer, like).to(like) if subtracts else None


def _with_affine(target: nn.Module, weight: Tensor | None, bias: Tensor | None) -> nn.Module:
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            target.get_parameter(name).copy_(value)
    return target


def _edit_conv(conv: nn.Module, layer: LayerPlan, fold: Fold, module: SwitchableNorm) -> None:
    """The table of math/folding.py, row by row."""
    assert isinstance(conv, FoldTarget)  # the planner's condition
    assert layer.pair is not None  # weighted forms fold nothing
    mean = module.running_mean
    if layer.centre is not None:
        mean = _centre_of(layer, conv.weight)
    if fold.kind in (FoldKind.CENTRE, FoldKind.MEAN):
        bias = folded_bias(conv.bias, mean=mean, shift=None)
    else:
        assert module.running_var is not None  # BN is selected, so it is offered
        scale = static_scale(channel_weight(module), module.running_var, module.eps)
        if layer.pair.mean is Normalizer.LN:
            mean = None  # it depends on the input: LayerCentre computes it
        shift = module.bias if fold.kind is FoldKind.ALL else None
        bias = folded_bias(conv.bias, mean=mean, scale=scale, shift=shift)
        groups = conv.groups if isinstance(conv, _ConvNd) else 1
        conv.weight.copy_(
            scale_output_channels(conv.weight, scale, transposed=fold.transposed, groups=groups)
        )
    conv.bias = None if bias is None else nn.Parameter(bias.to(conv.weight))


def _clone(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
