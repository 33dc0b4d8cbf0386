"""What a file of pruned weights stores besides its tensors. Data only.

The records are the JSON in the file's header, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.plan import AffineStep, Ratios

PLAN_VERSION = 1


@dataclass(frozen=True)
class StoredLayer:
    """What became of one switchable layer.

    Attributes:
        name: Its first path in the network.
        aliases: Its other paths.
        mean: Ratios of the IN, LN and BN means in the original's gate.
        var: Ratios of the IN, LN and BN variances in the original's gate.
        form: Code of the concrete form, a row of ``pruning/forms/table.py``.
        settings: What the form is built from; the values of its tensors are in the file.
        fold: Code of the fold, a row of ``pruning/folds/table.py``; None if nothing has moved.
        folded_into: Path of the module that holds the kernel, or of the layer that absorbs it.
        absorbs: Modules that have become part of this layer; identities take their places.
        centre: Centring constants (C,), already applied in the tensors; None if there are none.
    """

    name: str
    aliases: tuple[str, ...]
    mean: Ratios
    var: Ratios
    form: str
    settings: FormSettings
    fold: str | None
    folded_into: str | None
    absorbs: tuple[AffineStep, ...]
    centre: tuple[float, ...] | None


@dataclass(frozen=True)
class StoredPlan:
    """The part of a network's plan that is needed to restore the network.

    Attributes:
        version: Version of the plan's format.
        layers: Every switchable layer.
        created_biases: Paths of biases that folds have created, such as ``conv1.bias``.
        frozen: Parameters that require no gradient.
        dtypes: Dtypes of the tensors that are not float32, by name.
        strides: Strides of the tensors that are not contiguous, such as those in channels-last
            format, by name. Kernels round differently for another memory format.
        size_conditions: Conditions on the sizes of the inputs that the network relies on, in the
            form of :mod:`ssn_prune.pruning.capture.guard_text`.
    """

    version: int
    layers: tuple[StoredLayer, ...]
    created_biases: tuple[str, ...]
    frozen: tuple[str, ...]
    dtypes: dict[str, str]
    strides: dict[str, tuple[int, ...]]
    size_conditions: tuple[str, ...]
