"""The nine pairs: which concrete form each becomes and what may fold into what is in front."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from torch import nn

from ssn_prune.nn import inference as concrete
from ssn_prune.normalizer import Normalizer, NormalizerPair


class Form(enum.StrEnum):
    """A concrete normalizer, for any number of spatial axes."""

    IDENTITY = "Identity"
    BATCH_NORM = "BatchNorm"
    INSTANCE_NORM = "InstanceNorm"
    GROUP_NORM = "GroupNorm"
    MOMENTS = "MomentNorm"
    INSTANCE_CENTRE = "InstanceCentre"
    LAYER_CENTRE = "LayerCentre"


_CLASSES: dict[Form, tuple[type[nn.Module], ...]] = {
    Form.IDENTITY: (nn.Identity,) * 3,
    Form.BATCH_NORM: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    Form.INSTANCE_NORM: (
        concrete.InstanceNorm1d,
        concrete.InstanceNorm2d,
        concrete.InstanceNorm3d,
    ),
    Form.GROUP_NORM: (concrete.GroupNorm,) * 3,
    Form.MOMENTS: (concrete.MomentNorm1d, concrete.MomentNorm2d, concrete.MomentNorm3d),
    Form.INSTANCE_CENTRE: (
        concrete.InstanceCentre1d,
        concrete.InstanceCentre2d,
        concrete.InstanceCentre3d,
    ),
    Form.LAYER_CENTRE: (concrete.LayerCentre1d, concrete.LayerCentre2d, concrete.LayerCentre3d),
}


def class_of(form: Form, dimension: int) -> type[nn.Module]:
    """The module of a form for 1-d ((N, C) included), 2-d or 3-d layers."""
    return _CLASSES[form][dimension - 1]


class FoldKind(enum.StrEnum):
    """What moves, and where to: the convolution in front unless the name says otherwise.

    The algebra is in math/folding.py.
    """

    ALL = "scale and shift"
    SCALE = "scale"
    MEAN = "running mean"
    CENTRE = "centring"
    ABSORBED = "scale and shift, into the norm in front"
    FORWARD = "scale and shift, into what is behind"


@dataclass(frozen=True)
class PairForm:
    """How one pair is replaced.

    Attributes:
        form: The form without a fold.
        fold: What may fold, or None if nothing does.
        folded: The form that is left after the fold.
    """

    form: Form
    fold: FoldKind | None = None
    folded: Form | None = None


_IN, _LN, _BN = Normalizer.IN, Normalizer.LN, Normalizer.BN

PAIR_FORMS: dict[NormalizerPair, PairForm] = {
    NormalizerPair(_IN, _IN): PairForm(Form.INSTANCE_NORM, FoldKind.CENTRE, Form.INSTANCE_NORM),
    NormalizerPair(_IN, _LN): PairForm(Form.MOMENTS),
    NormalizerPair(_IN, _BN): PairForm(Form.MOMENTS, FoldKind.SCALE, Form.INSTANCE_CENTRE),
    NormalizerPair(_LN, _IN): PairForm(Form.MOMENTS),
    NormalizerPair(_LN, _LN): PairForm(Form.GROUP_NORM),
    NormalizerPair(_LN, _BN): PairForm(Form.MOMENTS, FoldKind.SCALE, Form.LAYER_CENTRE),
    NormalizerPair(_BN, _IN): PairForm(Form.MOMENTS, FoldKind.MEAN, Form.MOMENTS),
    NormalizerPair(_BN, _LN): PairForm(Form.MOMENTS, FoldKind.MEAN, Form.MOMENTS),
    NormalizerPair(_BN, _BN): PairForm(Form.BATCH_NORM, FoldKind.ALL, Form.IDENTITY),
}
"""Without Bessel correction. A corrected LN variance has no single-operator form and a corrected
IN/IN is a plain instance norm only for a fixed spatial size; both are :attr:`Form.MOMENTS` then."""


def form_of(pair: NormalizerPair, *, correction: int, positions: int | None) -> PairForm:
    """The entry of :data:`PAIR_FORMS` that is exact for a kind of variance and a spatial size.

    Args:
        pair: The selected pair.
        correction: 1 for Bessel-corrected variances.
        positions: Positions of a plane if that is the same at every call, else None.
    """
    entry = PAIR_FORMS[pair]
    needs_moments = correction and (
        entry.form is Form.GROUP_NORM or (entry.form is Form.INSTANCE_NORM and positions is None)
    )
    if not needs_moments:
        return entry
    return PairForm(Form.MOMENTS, entry.fold, Form.MOMENTS if entry.fold else None)
