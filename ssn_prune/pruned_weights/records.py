"""What a file of pruned weights says besides its tensors. Data only.

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
        var: The same of the variances.
        form: Code of the concrete form, a row of ``pruning/forms/table.py``.
        settings: What the form is built of; its tensors are in the file.
        fold: Code of the fold, a row of ``pruning/folds/table.py``; None if nothing has moved.
        folded_into: Path of the module that holds the kernel, or of the layer that absorbed this.
        absorbs: Modules that have become part of this layer; identities take their places.
        centre: Centring constants (C,), which are in the tensors already; None if there are none.
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
    """The plan of a network, as far as it takes to make the network again.

    Attributes:
        version: Of this form of the plan.
        layers: Every switchable layer.
        created_biases: Paths of biases that folds have created, such as ``conv1.bias``.
        frozen: Parameters that need no gradient.
        dtypes: Of the tensors that are not float32, by their names.
        strides: Of the tensors whose elements lie in another order than that of the axes, such as
            channels last; kernels compute other bits with another order.
        size_conditions: What the network supposes of the sizes of its inputs, in the form of
            :mod:`ssn_prune.pruning.capture.guard_text`.
    """

    version: int
    layers: tuple[StoredLayer, ...]
    created_biases: tuple[str, ...]
    frozen: tuple[str, ...]
    dtypes: dict[str, str]
    strides: dict[str, tuple[int, ...]]
    size_conditions: tuple[str, ...]
