"""The nine pairs: the concrete form that each becomes, and how each form is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.pruning.forms import (
    batch_norm,
    group_norm,
    identity,
    instance_centre,
    instance_norm,
    layer_centre,
    moments,
)
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import LayerPlan
from ssn_prune.pruning.static_norm import Affine

Build = Callable[[LayerPlan, SwitchableNorm, Affine], nn.Module]
"""Makes the concrete module of a layer from its plan, the switchable layer, and the layer's weight
and bias including what it absorbs. Every decision is in the plan."""


@dataclass(frozen=True)
class Form:
    """A concrete normalizer.

    Attributes:
        code: Its name in the plan.
        classes: Its modules for 1-d ((N, C) included), 2-d and 3-d layers.
        build: Makes a module from a planned layer.
        restore: Makes a module with uninitialized tensors from its settings, on the default device.
    """

    code: str
    classes: tuple[type[nn.Module], ...]
    build: Build
    restore: Callable[[FormSettings], nn.Module]


_MODULES = (
    *(identity, batch_norm, instance_norm, group_norm),
    *(moments, instance_centre, layer_centre),
)
_ROWS = tuple(Form(m.CODE, m.CLASSES, m.build, m.restore) for m in _MODULES)
FORMS = {form.code: form for form in _ROWS}

_IN, _LN, _BN = Normalizer.IN, Normalizer.LN, Normalizer.BN

PAIR_FORMS: dict[NormalizerPair, str] = {
    NormalizerPair(_IN, _IN): instance_norm.CODE,
    NormalizerPair(_IN, _LN): moments.CODE,
    NormalizerPair(_IN, _BN): moments.CODE,
    NormalizerPair(_LN, _IN): moments.CODE,
    NormalizerPair(_LN, _LN): group_norm.CODE,
    NormalizerPair(_LN, _BN): moments.CODE,
    NormalizerPair(_BN, _IN): moments.CODE,
    NormalizerPair(_BN, _LN): moments.CODE,
    NormalizerPair(_BN, _BN): batch_norm.CODE,
}
"""The form of each pair without a fold and without Bessel's correction."""


def form_of(pair: NormalizerPair, *, correction: int, positions: int | None) -> str:
    """The form that is exact for a kind of variance and a spatial size.

    A corrected LN/LN has no single-operator form, and a corrected IN/IN is a plain instance norm
    only for a fixed spatial size. The form is :mod:`moments` in both cases.

    Args:
        pair: The selected pair.
        correction: 0 for biased variances; see :mod:`ssn_prune.nn.variance_kind`.
        positions: Positions of a plane if their number is the same at every call, else None.
    """
    code = PAIR_FORMS[pair]
    if correction and code == group_norm.CODE:
        return moments.CODE
    if correction and code == instance_norm.CODE and positions is None:
        return moments.CODE
    return code


def class_name(layer: LayerPlan) -> str:
    """Name of the concrete class of a planned layer, such as ``InstanceNorm2d``."""
    return FORMS[layer.form].classes[layer.dimension - 1].__name__
