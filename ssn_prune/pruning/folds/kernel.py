"""Which convolution or linear layer a layer may fold into, and if none, why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ssn_prune.pruning.capture.records import BiasedModule, Capture, ConvCall, ParameterOwner
from ssn_prune.pruning.forms import FoldKind
from ssn_prune.pruning.plan import Refusal, RefusalCode
from ssn_prune.surgery.copying import has_hooks


@dataclass(frozen=True)
class Kernel:
    """The tensors of the one convolution or linear layer that all given calls are calls of.

    Attributes:
        weight: Where its kernel is.
        bias: Where its bias is or can be made; None if it has none and can have none.
        transposed: Whether it is a transposed convolution.
        groups: Its groups.
    """

    weight: ParameterOwner
    bias: ParameterOwner | None
    transposed: bool
    groups: int


def kernel_of(model: nn.Module, captured: Capture, convs: Sequence[ConvCall]) -> Kernel | Refusal:
    """Find the kernel that may be edited for given calls, and for these only.

    Args:
        model: The network; not changed.
        captured: Its capture.
        convs: All calls for which an edit is right.
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
    holder = model.get_submodule(owner.module)
    if has_hooks(holder):
        return Refusal(RefusalCode.HOOKS, f"{owner.module} has hooks")
    bias = _bias_of(holder, owner, captured, convs)
    if isinstance(bias, Refusal):
        return bias
    return Kernel(owner, bias, convs[0].transposed, convs[0].groups)


def _bias_of(
    holder: nn.Module, weight: ParameterOwner, captured: Capture, convs: Sequence[ConvCall]
) -> ParameterOwner | Refusal | None:
    if not any(conv.biased for conv in convs):
        return None
    what = convs[0].what
    ids = {conv.bias for conv in convs}
    memory = convs[0].bias
    owners = captured.owners.get(memory, ()) if memory is not None else ()
    own = ParameterOwner(weight.module, "bias")
    if len(ids) != 1 or not owners or (isinstance(holder, BiasedModule) and own not in owners):
        text = f"{weight.module} does not pass its own bias to the {what}"
        return Refusal(RefusalCode.BIAS, text)
    if len(owners) != 1 or memory is None or captured.uses.get(memory) != len(convs):
        return Refusal(RefusalCode.BIAS, f"the bias of {weight.module} is also used elsewhere")
    return owners[0]


def require_bias(kernel: Kernel, kind: FoldKind, what: str) -> Refusal | None:
    """Refuse a fold that needs a bias where there is none and none can be made."""
    if kernel.bias is not None or kind is FoldKind.SCALE:
        return None
    owner = kernel.weight
    text = f"{owner.module} does not pass its own bias to the {what}"
    return Refusal(RefusalCode.BIAS, text)


def held_at(model: nn.Module, owner: ParameterOwner | None) -> Tensor | None:
    """The parameter or buffer at a place; None if there is none (yet)."""
    if owner is None:
        return None
    found: Tensor | None = getattr(model.get_submodule(owner.module), owner.attribute)
    return found


def tensor_at(model: nn.Module, owner: ParameterOwner | None) -> Tensor | None:
    """The values at a place; None if there are none (yet)."""
    found = held_at(model, owner)
    return None if found is None else found.detach()
