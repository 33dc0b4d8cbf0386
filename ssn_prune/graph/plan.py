"""The plan: plain data that says what will be replaced and folded, and why something will not."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ssn_prune.graph.forms import FoldKind, Form, class_of
from ssn_prune.normalizer import NormalizerPair

Ratios = tuple[float, float, float]


class RefusalCode(str, enum.Enum):
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
    NOT_A_CONV_MODULE = "weight_not_in_a_conv_module"
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
    """A fold into one convolution, or into a linear layer.

    Attributes:
        kind: What moves.
        conv: Path of the convolution or linear layer.
        transposed: Whether it is a transposed convolution.
    """

    kind: FoldKind
    conv: str
    transposed: bool


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
        fold: What folds into the convolution or linear layer in front.
        refusal: Why nothing does; exactly one of the two is set.
        centre: In front of an IN mean, constants (C,) to subtract: by the convolution in the place
            of its dead bias, or, where a channel is nearly constant, by the layer itself.
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
    centre: tuple[float, ...] | None = None

    @property
    def form_name(self) -> str:
        """Name of the concrete class, such as ``InstanceNorm2d``."""
        return class_of(self.form, self.dimension).__name__


@dataclass(frozen=True)
class Plan:
    """The plan of a network: one entry per layer, in the network's order."""

    layers: tuple[LayerPlan, ...]
