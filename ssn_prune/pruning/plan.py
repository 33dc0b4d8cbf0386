"""The plan: plain data that says what is replaced and folded, or why nothing is.

Folds and forms are named by the codes of their rows in ``folds/table.py`` and ``forms/table.py``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.capture.records import ParameterOwner

Ratios = tuple[float, float, float]

IDENTITY = "identity"
"""Code of the form that leaves nothing."""


class RefusalCode(enum.StrEnum):
    """Why nothing was folded, as stable names for programs."""

    NOTHING_FOLDS = "nothing_folds"
    WEIGHTED = "weighted_form"
    DISABLED = "folding_disabled"
    CAPTURE_FAILED = "capture_failed"
    NOT_CALLED = "not_called"
    NO_CONV = "no_conv_in_front"
    CONSUMERS = "conv_output_has_other_consumers"
    WEIGHT_COMPUTED = "weight_is_computed"
    WEIGHT_SHARED = "weight_is_shared"
    BIAS = "bias_cannot_be_replaced"
    HOOKS = "hooks"
    SCALE_RANGE = "scale_out_of_range"
    FOLLOWING = "no_following_conv_can_take_it"


@dataclass(frozen=True)
class Refusal:
    """Why nothing folds.

    Attributes:
        code: The reason for programs.
        reason: The reason for people, naming the tensor or module.
    """

    code: RefusalCode
    reason: str


@dataclass(frozen=True)
class Kernel:
    """The tensors of one convolution or linear layer.

    Attributes:
        weight: Where its kernel is.
        bias: Where its bias is or can be created; None if it has none and can have none.
        transposed: Whether it is a transposed convolution.
        groups: Its groups.
    """

    weight: ParameterOwner
    bias: ParameterOwner | None
    transposed: bool
    groups: int


@dataclass(frozen=True)
class Fold:
    """A fold into one convolution or linear layer, or into another switchable layer.

    Attributes:
        code: Code of the rule in ``folds/table.py`` that applies it.
        target: Path of the module that holds the kernel, or of the layer that absorbs this one.
        leaves: Code of the form in ``forms/table.py`` that remains of the layer.
        kernel: The kernel that is edited; None where another layer absorbs this one.
    """

    code: str
    target: str
    leaves: str
    kernel: Kernel | None = None


@dataclass(frozen=True)
class AffineStep:
    """An affine module after a layer that becomes part of the layer's weight and bias.

    Attributes:
        module: Its path. It is replaced by the identity.
        operator: ``mul``, ``add`` or ``batch_norm``, the latter also for a switchable layer that
            selected BN/BN.
    """

    module: str
    operator: str


@dataclass(frozen=True)
class LayerPlan:
    """What happens to one layer.

    Attributes:
        name: Its first path in the network.
        aliases: Its other paths.
        num_features: Number of channels C.
        dimension: 1, 2 or 3, as in the class name.
        correction: The kind of its variances; see :mod:`ssn_prune.nn.variance_kind`.
        positions: Positions of a plane (H W) if their number is the same at every captured call,
            else None.
        calls: Number of captured calls.
        pair: The selected pair; None if the weighted form is kept.
        mean_ratios: Weights of the IN, LN and BN means in the concrete form.
        var_ratios: Weights of the IN, LN and BN variances in the concrete form.
        form: Code of the concrete form in ``forms/table.py``.
        fold: What folds, and into what; None if nothing does.
        refusal: Why nothing folds; exactly one of ``fold`` and ``refusal`` is set.
        absorbs: What becomes part of this layer's weight and bias, in the order of the calls.
        order: Position of its first call among all calls, -1 if it is not called; folds are applied
            in this order.
        exposed: Whether its own output still appears at its place in the pruned network; not if
            a following module moved into it, or if it moved into a following module.
        centre: Centring constants (C,). With a folded running mean they are what the convolution
            subtracts, and the layer subtracts the rest. With any other fold the preceding
            convolution subtracts them through its dead bias. Without a fold the layer subtracts
            them itself, if a channel is nearly constant.
    """

    name: str
    aliases: tuple[str, ...]
    num_features: int
    dimension: int
    correction: int
    positions: int | None
    calls: int
    pair: NormalizerPair | None
    mean_ratios: Ratios
    var_ratios: Ratios
    form: str
    fold: Fold | None
    refusal: Refusal | None
    absorbs: tuple[AffineStep, ...] = ()
    order: int = 0
    exposed: bool = True
    centre: tuple[float, ...] | None = None

    @property
    def moved(self) -> bool:
        """Whether all of it moved into other modules, so that only an identity is left."""
        return self.form == IDENTITY


@dataclass(frozen=True)
class Plan:
    """The plan of a network.

    Attributes:
        layers: One entry per layer, in the network's order.
        any_size: Whether the forms are exact at every spatial size.
    """

    layers: tuple[LayerPlan, ...]
    any_size: bool = False

    def __repr__(self) -> str:
        """The numbers of layers and of folds."""
        folds = sum(layer.fold is not None for layer in self.layers)
        return f"<Plan of {len(self.layers)} layers, {folds} with a fold>"
