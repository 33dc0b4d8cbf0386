"""Which convolution or linear layer a switchable layer may fold into, and if none, why not.

The kernel may belong to any module: a functional call counts like the module's own. Every call of
the layer must have the same kernel, and nothing else may use it. Tensors are identified by the
memory they occupy. A bias is created only where the call passes the module's own ``bias``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ssn_prune.pruning.capture.records import BiasedModule, Capture, ConvCall, ParameterOwner
from ssn_prune.pruning.folds.context import Candidate, FoldContext
from ssn_prune.pruning.plan import Fold, Kernel, Refusal, RefusalCode
from ssn_prune.surgery.copying import has_hooks


def preceding_kernel(
    context: FoldContext, layer: Candidate, *, needs_bias: bool = True
) -> Kernel | Refusal:
    """The kernel of the convolution that makes a layer's input.

    The search passes through preceding layers that have folded into it completely.

    Args:
        context: The network, its capture, and the decisions so far.
        layer: The layer.
        needs_bias: Refuse where there is no bias and none can be created.
    """
    convs = _preceding_convs(context, layer.name)
    if isinstance(convs, Refusal):
        return convs
    return editable_kernel(context.network, context.captured, convs, needs_bias=needs_bias)


def fold_into_preceding(
    context: FoldContext, layer: Candidate, kernel: Kernel, *, code: str, leaves: str
) -> Fold:
    """The fold of a layer into the preceding convolution.

    A layer in between that has folded away has no output of its own then.

    Args:
        context: Changed in place.
        layer: The layer.
        kernel: What :func:`preceding_kernel` found.
        code: Of the rule.
        leaves: Code of the form that is left.
    """
    preceding = context.only_producer(layer.name)
    if preceding is not None and context.folded_away(preceding):
        context.decisions[preceding].exposed = False
    return Fold(code, kernel.weight.module, leaves, kernel)


def _preceding_convs(context: FoldContext, name: str) -> list[ConvCall] | Refusal:
    preceding = context.only_producer(name)
    if preceding is not None and context.folded_away(preceding):
        return _preceding_convs(context, preceding)
    found: list[ConvCall] = []
    for call in context.calls(name):
        conv = call.preceding_conv
        if conv is None:
            text = f"its input comes from {call.preceding_layer or call.producer}"
            return Refusal(RefusalCode.NO_CONV, text)
        if conv.consumers != 1:
            text = f"the output of the {conv.what} has {conv.consumers} consumers"
            return Refusal(RefusalCode.CONSUMERS, text)
        found.append(conv)
    return found


def editable_kernel(
    network: nn.Module, captured: Capture, convs: Sequence[ConvCall], *, needs_bias: bool = True
) -> Kernel | Refusal:
    """Find the kernel that may be edited for given calls, and for these only.

    Args:
        network: The network; not changed.
        captured: Its capture.
        convs: All calls for which an edit is right.
        needs_bias: Refuse where there is no bias and none can be created.
    """
    weight, what = convs[0].weight, convs[0].what
    if weight is None:
        text = f"the {what}'s weight is computed (parametrization, weight_norm or arithmetic)"
        return Refusal(RefusalCode.WEIGHT_COMPUTED, text)
    owners = captured.owners.get(weight, ())
    listed = ", ".join(f"{owner.module}.{owner.attribute}" for owner in owners)
    if len(owners) != 1:
        return Refusal(RefusalCode.WEIGHT_SHARED, f"{listed} are the same tensor")
    others = captured.uses.get(weight, 0) - len(convs)
    alike = {(conv.weight, conv.transposed, conv.groups) for conv in convs}
    if others or len(alike) != 1:
        text = f"{listed} is also used elsewhere, or the layer follows several convolutions"
        return Refusal(RefusalCode.WEIGHT_SHARED, text)
    owner = owners[0]
    holder = network.get_submodule(owner.module)
    if has_hooks(holder):
        return Refusal(RefusalCode.HOOKS, f"{owner.module} has hooks")
    bias = _bias_of(holder, owner, captured, convs)
    if isinstance(bias, Refusal):
        return bias
    if bias is None and needs_bias:
        return _foreign_bias(owner, what)
    return Kernel(owner, bias, convs[0].transposed, convs[0].groups)


def _bias_of(
    holder: nn.Module, weight: ParameterOwner, captured: Capture, convs: Sequence[ConvCall]
) -> ParameterOwner | Refusal | None:
    if not any(conv.biased for conv in convs):
        return None
    ids = {conv.bias for conv in convs}
    memory = convs[0].bias
    owners = captured.owners.get(memory, ()) if memory is not None else ()
    own = ParameterOwner(weight.module, "bias")
    if len(ids) != 1 or not owners or (isinstance(holder, BiasedModule) and own not in owners):
        return _foreign_bias(weight, convs[0].what)
    if len(owners) != 1 or memory is None or captured.uses.get(memory) != len(convs):
        return Refusal(RefusalCode.BIAS, f"the bias of {weight.module} is also used elsewhere")
    return owners[0]


def _foreign_bias(weight: ParameterOwner, what: str) -> Refusal:
    text = f"{weight.module} does not pass its own bias to the {what}"
    return Refusal(RefusalCode.BIAS, text)
