"""The planner: selection and capture in, plan out. It decides; the rewrite never re-checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from ssn_prune.errors import UndefinedVarianceError
from ssn_prune.graph.capture import Capture, ConvCall
from ssn_prune.graph.centring import NEARLY_CONSTANT, Centre
from ssn_prune.graph.forms import FoldKind, Form, PairForm, form_of
from ssn_prune.graph.plan import Fold, LayerPlan, Plan, Ratios, Refusal, RefusalCode
from ssn_prune.layers.copying import has_hooks, names_of
from ssn_prune.layers.switchable import SwitchableNorm
from ssn_prune.math.folding import folded_bias, is_normal, static_scale
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.selection import GateState, LayerSelection, Selection


def make_plan(
    model: nn.Module,
    selection: Selection,
    captured: Capture,
    *,
    fold: bool = True,
    keep_weighted: bool = False,
) -> Plan:
    """Decide what becomes of every layer.

    Args:
        model: The network; not changed. Its values matter only where a fold must stay in range.
        selection: Its selection.
        captured: Its capture.
        fold: Fold into convolutions.
        keep_weighted: Keep layers with unfinished gates as weighted forms instead of rounding them.

    Returns:
        The plan.

    Raises:
        UndefinedVarianceError: A Bessel-corrected IN or LN variance is used on a 1x1 map.
    """
    plans, undefined = [], []
    for layer in selection.layers:
        module = model.get_submodule(layer.name)
        assert isinstance(module, SwitchableNorm)  # selections name switchable layers only
        plan = _plan_layer(model, module, layer, captured, fold, keep_weighted)
        uses_instance = plan.var_ratios[Normalizer.IN] or plan.var_ratios[Normalizer.LN]
        if module.correction and uses_instance and 1 in _positions(captured, layer.name):
            undefined.append(layer.name)
        plans.append(plan)
    if undefined:
        raise UndefinedVarianceError(undefined)
    return Plan(tuple(plans))


def with_centres(plan: Plan, centres: Mapping[str, Centre]) -> Plan:
    """Add centring constants: always where a convolution subtracts them, else where they matter."""
    layers = []
    for layer in plan.layers:
        centre = centres.get(layer.name)
        if centre is not None and (layer.fold is not None or centre.peak > NEARLY_CONSTANT):
            layer = replace(layer, centre=tuple(float(value) for value in centre.values))
        layers.append(layer)
    return Plan(tuple(layers))


def layers_to_centre(plan: Plan) -> tuple[str, ...]:
    """The layers with an IN mean, which cancels any constant in front of it.

    A corrected IN/LN is left out: centring would take it over its budget of nodes, and its scale is
    that of the whole layer, never that of a constant channel.
    """
    return tuple(
        layer.name
        for layer in plan.layers
        if layer.pair is not None
        and layer.pair.mean is Normalizer.IN
        and not (layer.pair.var is Normalizer.LN and layer.correction)
    )


def _plan_layer(
    model: nn.Module,
    module: SwitchableNorm,
    layer: LayerSelection,
    captured: Capture,
    may_fold: bool,
    keep_weighted: bool,
) -> LayerPlan:
    sizes = _positions(captured, layer.name)
    positions = next(iter(sizes)) if len(sizes) == 1 else None
    weighted = keep_weighted and not layer.converged
    if weighted:
        pair, entry = None, PairForm(Form.MOMENTS)
        mean, var = _padded(layer.mean), _padded(layer.var)
        text = "the gates are unfinished, so the layer keeps its weighted form"
        fold: Fold | Refusal = Refusal(RefusalCode.WEIGHTED, text)
    else:
        pair = layer.pair
        entry = form_of(pair, correction=module.correction, positions=positions)
        mean, var = _one_hot(pair.mean), _one_hot(pair.var)
        fold = (
            _plan_fold(model, module, layer.name, pair, entry, captured)
            if may_fold
            else Refusal(RefusalCode.DISABLED, "folding was switched off")
        )
    folded = isinstance(fold, Fold)
    form = entry.folded if folded and entry.folded else entry.form
    first, *aliases = names_of(model, module)
    return LayerPlan(
        name=first,
        aliases=tuple(aliases),
        num_features=module.num_features,
        correction=module.correction,
        positions=positions,
        calls=len(captured.calls.get(layer.name, ())),
        pair=pair,
        mean_ratios=mean,
        var_ratios=var,
        form=form,
        fold=fold if isinstance(fold, Fold) else None,
        refusal=fold if isinstance(fold, Refusal) else None,
    )


def _plan_fold(
    model: nn.Module,
    module: SwitchableNorm,
    name: str,
    pair: NormalizerPair,
    entry: PairForm,
    captured: Capture,
) -> Fold | Refusal:
    if entry.fold is None:
        return Refusal(RefusalCode.NOTHING_FOLDS, f"no part of {pair} can move into a convolution")
    if captured.error is not None:
        text = f"torch.export could not capture the network ({captured.error})"
        return Refusal(RefusalCode.CAPTURE_FAILED, text)
    target = _target_conv(model, module, name, captured)
    if isinstance(target, Refusal):
        return target
    path, conv, transposed = target
    out_of_range = _range_problem(module, conv, pair, entry.fold, transposed)
    if out_of_range is not None:
        return Refusal(RefusalCode.SCALE_RANGE, out_of_range)
    return Fold(entry.fold, path, transposed)


def _target_conv(
    model: nn.Module, module: SwitchableNorm, name: str, captured: Capture
) -> tuple[str, nn.Conv2d | nn.ConvTranspose2d, bool] | Refusal:
    """The one convolution that feeds every call of a layer and nothing else, or why not."""
    calls = captured.calls.get(name, ())
    if not calls:
        return Refusal(RefusalCode.NOT_CALLED, "the captured graph shows no call of this layer")
    convs: list[ConvCall] = []
    for call in calls:
        if call.conv is None:
            return Refusal(RefusalCode.NO_CONV, f"its input comes from {call.producer}")
        if call.conv.consumers != 1:
            text = f"the convolution's output has {call.conv.consumers} consumers"
            return Refusal(RefusalCode.CONSUMERS, text)
        convs.append(call.conv)
    weight = convs[0].weight
    if weight is None:
        text = "the convolution's weight is computed (parametrization, weight_norm or arithmetic)"
        return Refusal(RefusalCode.WEIGHT_COMPUTED, text)
    owners = captured.owners.get(weight, ())
    listed = ", ".join(f"{owner.module}.{owner.attribute}" for owner in owners)
    if len(owners) != 1:
        return Refusal(RefusalCode.WEIGHT_SHARED, f"{listed} are the same tensor")
    others = captured.uses.get(weight, 0) - len(calls)
    if others or any(conv.weight != weight for conv in convs):
        text = f"{listed} is also used elsewhere, or the layer follows several convolutions"
        return Refusal(RefusalCode.WEIGHT_SHARED, text)
    path = owners[0].module
    conv = model.get_submodule(path)
    if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) or owners[0].attribute != "weight":
        text = f"{listed} is used by a functional convolution"
        return Refusal(RefusalCode.NOT_A_CONV_MODULE, text)
    for call_of_conv in convs:
        bias_id = call_of_conv.bias
        bias_owners = captured.owners.get(bias_id, ()) if bias_id is not None else ()
        if not any(o.module == path and o.attribute == "bias" for o in bias_owners):
            text = f"{path} does not pass its own bias to the convolution"
            return Refusal(RefusalCode.BIAS, text)
        if len(bias_owners) != 1 or bias_id is None or captured.uses.get(bias_id) != len(calls):
            return Refusal(RefusalCode.BIAS, f"the bias of {path} is also used elsewhere")
    for where, hooked in ((path, conv), (name, module)):
        if has_hooks(hooked):
            return Refusal(RefusalCode.HOOKS, f"{where} has hooks")
    return path, conv, convs[0].transposed


def _range_problem(
    module: SwitchableNorm,
    conv: nn.Conv2d | nn.ConvTranspose2d,
    pair: NormalizerPair,
    kind: FoldKind,
    transposed: bool,
) -> str | None:
    """Why the folded numbers would not fit the convolution's precision, or None."""
    if kind is FoldKind.CENTRE or module.running_mean is None or module.running_var is None:
        return None
    dtype = conv.weight.dtype
    limit = torch.finfo(dtype).max
    scale = torch.ones_like(module.running_var, dtype=torch.float64)
    if kind is not FoldKind.MEAN:
        scale = static_scale(module.weight.detach(), module.running_var, module.eps)
    if pair.mean is Normalizer.LN:
        for values in (scale, 1 / (module.num_features * scale)):
            if not is_normal(values, dtype):
                return "a folded scale is zero or not a normal number, so it could not be undone"
    largest = conv.weight.detach().abs()
    axes = [axis for axis in range(largest.dim()) if axis != 0]
    peak = largest.amax().double() if transposed else largest.amax(dim=axes).double()
    if not bool((peak * scale.abs() <= limit).all()):
        return f"a folded weight overflows {dtype}"
    bias = folded_bias(conv.bias, mean=module.running_mean, scale=scale, shift=module.bias)
    if bias is not None and not bool((bias.abs() <= limit).all()):
        return f"a folded bias overflows {dtype}"
    return None


def _positions(captured: Capture, name: str) -> set[int | None]:
    return {call.positions for call in captured.calls.get(name, ())}


def _one_hot(choice: Normalizer) -> Ratios:
    values = [1.0 if k == choice else 0.0 for k in Normalizer]
    return values[0], values[1], values[2]


def _padded(gate: GateState) -> Ratios:
    values = [*gate.ratios, 0.0][:3]
    return values[0], values[1], values[2]
