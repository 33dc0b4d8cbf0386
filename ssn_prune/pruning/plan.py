"""The plan: plain data that says what will be replaced and folded, and why something will not."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.capture.records import ParameterOwner
from ssn_prune.pruning.forms import FoldKind, Form, class_of

Ratios = tuple[float, float, float]


class RefusalCode(enum.StrEnum):
    """Why nothing was folded; stable names for programs."""

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


@dataclass(frozen=True)
class Refusal:
    """Why nothing folds.

    Attributes:
        code: For programs.
        reason: For people, naming the tensor or module.
    """

    code: RefusalCode
    reason: str


@dataclass(frozen=True)
class Fold:
    """A fold into one convolution or linear layer, or into another switchable layer.

    Attributes:
        kind: What moves.
        target: Path of the module that holds the kernel, or of the layer that absorbs this one.
        weight: Where the kernel is; None for an absorbed layer.
        bias: Where the bias is or will be; None if there is none and none is needed.
        transposed: Whether the kernel is that of a transposed convolution.
        groups: Groups of the convolution.
    """

    kind: FoldKind
    target: str
    weight: ParameterOwner | None = None
    bias: ParameterOwner | None = None
    transposed: bool = False
    groups: int = 1


@dataclass(frozen=True)
class AffineStep:
    """Something behind a layer that becomes part of the layer's weight and bias.

    Attributes:
        module: Its path. It is replaced by the identity.
        operator: ``mul``, ``add``, or ``batch_norm``, also for a switchable layer that
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
        num_features: C.
        dimension: 1, 2 or 3, as in the layer's name.
        correction: 1 if its variance is Bessel-corrected.
        positions: Positions of a plane (H W) if that is the same fixed number at every captured
            call, else None.
        calls: Number of captured calls.
        pair: The selected pair; None if the weighted form is kept.
        mean_ratios: Weights of the IN, LN and BN means in the concrete form.
        var_ratios: Weights of the IN, LN and BN variances in the concrete form.
        form: The concrete form.
        fold: What folds, and where to.
        refusal: Why nothing does; exactly one of the two is set.
        absorbs: What becomes part of this layer's weight and bias, in the order of the calls.
        order: Position of its first call among all calls; folds are applied in this order.
        exposed: Whether its own output still appears at its place in the pruned network; not if
            something behind it moved into it, or if it moved into something behind.
        centre: Constants (C,) to subtract. In front of an IN mean: by the convolution in the place
            of its dead bias, or, where a channel is nearly constant, by the layer itself. For a
            folded running mean: what the convolution subtracts; the layer subtracts the rest.
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
    form: Form
    fold: Fold | None
    refusal: Refusal | None
    absorbs: tuple[AffineStep, ...] = ()
    order: int = 0
    exposed: bool = True
    centre: tuple[float, ...] | None = None

    @property
    def form_name(self) -> str:
        """Name of the concrete class, such as ``InstanceNorm2d``."""
        return class_of(self.form, self.dimension).__name__


@dataclass(frozen=True)
class Plan:
    """The plan of a network.

    Attributes:
        layers: One entry per layer, in the network's order.
        any_size: Whether the forms are exact at every spatial size.
    """

    layers: tuple[LayerPlan, ...]
    any_size: bool = False
