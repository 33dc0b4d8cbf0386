"""Which fold is possible for a layer, and if none is, why not."""

from __future__ import annotations

import torch
from torch import nn

from ssn_prune.graph.facts import Capture, ConvCall, FoldTarget
from ssn_prune.graph.forms import FoldKind, PairForm
from ssn_prune.graph.plan import Fold, Refusal, RefusalCode
from ssn_prune.layers.axes import channel_weight
from ssn_prune.layers.copying import has_hooks
from ssn_prune.layers.switchable import SwitchableNorm
from ssn_prune.math.folding import folded_bias, is_normal, static_scale
from ssn_prune.normalizer import Normalizer, NormalizerPair


def plan_fold(
    model: nn.Module,
    module: SwitchableNorm,
    name: str,
    pair: NormalizerPair,
    entry: PairForm,
    captured: Capture,
) -> Fold | Refusal:
    """Decide what of a layer folds into the convolution or linear layer in front of it.

    Args:
        model: The network; not changed.
        module: The layer.
        name: Its first path in the network.
        pair: What it selected.
        entry: The form of that pair, with what may fold.
        captured: The capture of the network.
    """
    if entry.fold is None:
        text = f"no part of {pair} can move into what is in front"
        return Refusal(RefusalCode.NOTHING_FOLDS, text)
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
) -> tuple[str, FoldTarget, bool] | Refusal:
    """The one convolution or linear layer that feeds every call of a layer and nothing else."""
    calls = captured.calls.get(name, ())
    if not calls:
        return Refusal(RefusalCode.NOT_CALLED, "the captured graph shows no call of this layer")
    convs: list[ConvCall] = []
    for call in calls:
        if call.conv is None:
            return Refusal(RefusalCode.NO_CONV, f"its input comes from {call.producer}")
        if call.conv.consumers != 1:
            text = f"the output of the {call.conv.what} has {call.conv.consumers} consumers"
            return Refusal(RefusalCode.CONSUMERS, text)
        convs.append(call.conv)
    weight, what = convs[0].weight, convs[0].what
    if weight is None:
        text = f"the {what}'s weight is computed (parametrization, weight_norm or arithmetic)"
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
    if not isinstance(conv, FoldTarget) or owners[0].attribute != "weight":
        text = f"{listed} is used by a functional {what}"
        return Refusal(RefusalCode.NOT_A_CONV_MODULE, text)
    for call_of_conv in convs:
        bias_id = call_of_conv.bias
        bias_owners = captured.owners.get(bias_id, ()) if bias_id is not None else ()
        if not any(o.module == path and o.attribute == "bias" for o in bias_owners):
            text = f"{path} does not pass its own bias to the {what}"
            return Refusal(RefusalCode.BIAS, text)
        if len(bias_owners) != 1 or bias_id is None or captured.uses.get(bias_id) != len(calls):
            return Refusal(RefusalCode.BIAS, f"the bias of {path} is also used elsewhere")
    for where, hooked in ((path, conv), (name, module)):
        if has_hooks(hooked):
            return Refusal(RefusalCode.HOOKS, f"{where} has hooks")
    return path, conv, convs[0].transposed


def _range_problem(
    module: SwitchableNorm,
    conv: FoldTarget,
    pair: NormalizerPair,
    kind: FoldKind,
    transposed: bool,
) -> str | None:
    """Why the folded numbers would not fit the precision of the weights, or None."""
    if kind is FoldKind.CENTRE or module.running_mean is None or module.running_var is None:
        return None
    dtype = conv.weight.dtype
    limit = torch.finfo(dtype).max
    scale = torch.ones_like(module.running_var, dtype=torch.float64)
    if kind is not FoldKind.MEAN:
        scale = static_scale(channel_weight(module), module.running_var, module.eps)
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
