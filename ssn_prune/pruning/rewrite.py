"""The rewrite: apply a plan to a network. It makes no decisions of its own."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ssn_prune.nn.axes import channel_weight
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.pruning.edits import KernelEdits
from ssn_prune.pruning.folds.affine import Affine, effective_affine, static_affine
from ssn_prune.pruning.folds.algebra import (
    folded_bias,
    scale_input_channels,
    scale_output_channels,
    shifted_by_inputs,
    static_scale,
)
from ssn_prune.pruning.folds.kernel import held_at, tensor_at
from ssn_prune.pruning.forms import FoldKind, Form, class_of
from ssn_prune.pruning.plan import Fold, LayerPlan, Plan
from ssn_prune.surgery._shared_parameters import shared_copy
from ssn_prune.surgery.copying import carry_hooks, replace_modules


def apply_plan(plan: Plan, model: nn.Module) -> nn.Module:
    """Apply a plan to a copy; ``model`` is never changed.

    Args:
        plan: Made for this network.
        model: The network.

    Returns:
        The pruned copy. It shares with ``model`` the memory of every parameter that the plan does
        not change, which must not be written to.
    """
    return rewrite(plan, shared_copy(model))


def rewrite(plan: Plan, network: nn.Module) -> nn.Module:
    """Apply a plan to a network in place.

    Args:
        plan: Made for this network; its tensors may since have been cast to another dtype.
        network: The network; edited kernels get other memory instead of other values.

    Returns:
        The network, or what replaces it, in which every planned layer is concrete. Fold arithmetic
        is done in float64 and cast once to each tensor's dtype.
    """
    edits = KernelEdits()
    pruned = network
    layers = sorted(plan.layers, key=lambda layer: layer.order)
    modules = {layer.name: pruned.get_submodule(layer.name) for layer in layers}
    with torch.no_grad():
        # Read before anything is replaced: an absorbed layer is gone when its turn comes.
        affines = {
            layer.name: effective_affine(_switchable(modules[layer.name]), layer.absorbs, pruned)
            for layer in layers
        }
        replaced: list[tuple[nn.Module, nn.Module]] = []
        for layer in layers:
            module = _switchable(modules[layer.name])
            concrete = _concrete(layer, module, affines[layer.name])
            if layer.fold is not None and layer.fold.kind is not FoldKind.ABSORBED:
                _edit_kernel(edits, pruned, layer, module, affines[layer.name])
            concrete.train(module.training)
            carry_hooks(module, concrete)
            replaced.append((module, concrete))
    for step in (step for layer in layers for step in layer.absorbs):
        if step.module not in modules:
            replaced.append((pruned.get_submodule(step.module), nn.Identity()))
    return replace_modules(pruned, replaced)


def _switchable(module: nn.Module) -> SwitchableNorm:
    assert isinstance(module, SwitchableNorm)  # the plan was made for this network
    return module


def _concrete(layer: LayerPlan, module: SwitchableNorm, affine: Affine) -> nn.Module:
    make = class_of(layer.form, layer.dimension)
    if layer.form is Form.IDENTITY:
        return make()
    like = channel_weight(module)
    weight, bias = (_cast(value, like) for value in affine)
    if layer.form is Form.INSTANCE_NORM:
        return _instance_norm(layer, module, affine)
    if layer.form is Form.INSTANCE_CENTRE:
        return make(bias)
    if layer.form is Form.LAYER_CENTRE:
        assert module.running_var is not None  # BN is selected, so it is offered
        scale = static_scale(_or_ones(affine[0], like), module.running_var, module.eps)
        coefficient = 1 / (module.num_features * scale)
        return make(scale.to(like), coefficient.to(like), bias)
    has_affine = weight is not None or bias is not None
    if layer.form is Form.GROUP_NORM:
        group_norm = make(module.num_features, module.eps, has_affine)
        return _with_affine(group_norm.to(like), weight, bias)
    if layer.form is Form.BATCH_NORM:
        batch_norm = make(module.num_features, module.eps, module.momentum, has_affine)
        batch_norm = batch_norm.to(like)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            batch_norm.get_buffer(name).copy_(module.get_buffer(name))
        return _with_affine(batch_norm, weight, bias)
    folded_mean = layer.fold is not None and layer.fold.kind is FoldKind.MEAN
    offset = _subtracted(layer, module) if folded_mean else None
    own = _own_centre(layer, like)
    moment_norm = make(
        module.num_features,
        weight,
        bias,
        _running(module, offset if own is None else _centre_of(layer, like)),
        eps=module.eps,
        momentum=module.momentum,
        correction=layer.correction,
        mean_ratios=layer.mean_ratios,
        var_ratios=layer.var_ratios,
        offset=None if offset is None else offset.to(like),
        centre=own,
    )
    return moment_norm.to(like)


def _running(module: SwitchableNorm, offset: Tensor | None) -> tuple[Tensor, Tensor, Tensor] | None:
    """Running statistics relative to a constant; None if nothing is left of them."""
    mean, var, count = module.running_mean, module.running_var, module.num_batches_tracked
    if mean is None or var is None or count is None:
        return None
    if offset is None:
        return mean.clone(), var.clone(), count.clone()
    # Nothing but the mean is used of a layer that takes a constant.
    left = mean.double() - offset
    return (left.to(mean), var.clone(), count.clone()) if bool(left.any()) else None


def _instance_norm(layer: LayerPlan, module: SwitchableNorm, affine: Affine) -> nn.Module:
    """IN/IN; with correction the factor f = n/(n-1) goes into weight and eps.

    A layer without affine parameters then gets constant ones.
    """
    like, eps = channel_weight(module), module.eps
    weight, bias = affine
    trainable = weight is not None or bias is not None
    positions = layer.positions if layer.correction else None
    if positions is not None:
        factor = positions / (positions - 1)
        weight, eps = _or_ones(weight, like).double() / factor**0.5, eps / factor
    make = class_of(layer.form, layer.dimension)
    has_affine = weight is not None or bias is not None
    instance_norm = make(module.num_features, eps, has_affine, positions, _own_centre(layer, like))
    instance_norm = _with_affine(instance_norm.to(like), _cast(weight, like), _cast(bias, like))
    return instance_norm.requires_grad_(trainable)


def _centre_of(layer: LayerPlan, like: Tensor) -> Tensor:
    return torch.tensor(layer.centre, dtype=torch.float64, device=like.device)


def _subtracted(layer: LayerPlan, module: SwitchableNorm) -> Tensor:
    """What the convolution in front subtracts, (C,), float64."""
    assert module.running_mean is not None  # BN is selected, so it is offered
    mean = module.running_mean
    return mean.double() if layer.centre is None else _centre_of(layer, mean)


def _own_centre(layer: LayerPlan, like: Tensor) -> Tensor | None:
    """The constants that the layer subtracts itself, because no convolution does."""
    subtracts = layer.centre is not None and layer.fold is None
    return _centre_of(layer, like).to(like) if subtracts else None


def _edit_kernel(
    edits: KernelEdits, model: nn.Module, layer: LayerPlan, module: SwitchableNorm, affine: Affine
) -> None:
    """The table of math/folding.py, row by row."""
    assert layer.pair is not None  # weighted forms fold nothing
    fold = layer.fold
    assert fold is not None  # the caller's condition
    kernel, old = held_at(model, fold.weight), tensor_at(model, fold.bias)
    assert kernel is not None  # every kernel has a weight
    set_bias = partial(_set_bias, model, fold, dtype=edits.dtype_behind(kernel))
    if fold.kind is FoldKind.FORWARD:
        scale, shift = static_affine(module, affine)
        added = shifted_by_inputs(edits.value(kernel), shift, groups=fold.groups)
        set_bias(added if old is None else added + old.double())
        edits.edit(kernel, partial(scale_input_channels, scale=scale, groups=fold.groups))
        return
    if fold.kind is FoldKind.MEAN:
        subtracted = _subtracted(layer, module)
        set_bias(folded_bias(old, mean=subtracted, shift=None))
        return
    mean = module.running_mean if layer.centre is None else _centre_of(layer, kernel)
    if fold.kind is FoldKind.CENTRE:
        set_bias(folded_bias(old, mean=mean, shift=None))
        return
    assert module.running_var is not None  # BN is selected, so it is offered
    weight = _or_ones(affine[0], channel_weight(module))
    scale = static_scale(weight, module.running_var, module.eps)
    if layer.pair.mean is Normalizer.LN or fold.bias is None:
        mean = None  # LN's depends on the input; without a bias an IN mean stays where it is
    added_bias = affine[1] if fold.kind is FoldKind.ALL else None
    set_bias(folded_bias(old, mean=mean, scale=scale, shift=added_bias))
    by_channel = partial(
        scale_output_channels, scale=scale, transposed=fold.transposed, groups=fold.groups
    )
    edits.edit(kernel, by_channel)


def _with_affine(target: nn.Module, weight: Tensor | None, bias: Tensor | None) -> nn.Module:
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            target.get_parameter(name).copy_(value)
    return target


def _set_bias(model: nn.Module, fold: Fold, bias: Tensor | None, *, dtype: torch.dtype) -> None:
    if bias is None or fold.bias is None:
        return
    holder = model.get_submodule(fold.bias.module)
    setattr(holder, fold.bias.attribute, nn.Parameter(bias.to(dtype)))


def _cast(value: Tensor | None, like: Tensor) -> Tensor | None:
    """A copy in another precision."""
    return None if value is None else value.to(like, copy=True)


def _or_ones(weight: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones_like(like) if weight is None else weight
