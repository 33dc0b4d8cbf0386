"""What the comparison of a network with its adopted copy found. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NotCompared = Literal["own_layers", "code_cannot_run"]


@dataclass(frozen=True)
class LayerError:
    """The error of one layer in one check, relative to the largest value of its output.

    Attributes:
        layer: Its path.
        error: The error of the call that uses most of its bound.
        bound: The largest error that is allowed there.
    """

    layer: str
    error: float
    bound: float


def layer_error(layer: str, error: float, bound: float) -> LayerError:
    """The error in four digits: a network has hundreds of layers, and no reader wants more.

    Rounding keeps the order, so an error within its bound stays within it.
    """
    return LayerError(layer, float(f"{error:.4g}"), float(f"{bound:.4g}"))


@dataclass(frozen=True)
class AdoptionCheck:
    """The given network compared with its copy with layers of ssn_prune, both unpruned.

    If they differ, an error is raised and there is no result. Errors are relative to the largest
    value of the tensor in question.

    Attributes:
        compared: Whether both ran.
        reason: Why they were not compared: ``"own_layers"`` (all switchable layers are ssn_prune's
            already, so there is no other code) or ``"code_cannot_run"``.
        detail: What the code that cannot run raised.
        precision: ``"float64"``, or ``"float32"`` where the network cannot run in float64.
        narrow_operator: The operator that does not run in float64, if that is the reason.
        output_error: The error of the outputs.
        own_float32_error: The error of the given network's float32 outputs, relative to its own in
            float64; where ``precision`` is ``"float32"``, that of the adopted copy.
        tolerance: The bound of ``output_error``.
        layers: Number of switchable layers that were compared, each at every call.
        worst_layer: The layer that uses most of its own bound.
        worst_layer_error: Its error.
        worst_layer_tolerance: Its bound.
        layer_errors: The errors of all layers that were compared, in execution order.
        layers_on_noise: Layers that the inputs do not reach and that were compared on noise.
        layers_not_compared: Layers that the inputs do not reach and that do not run on noise, so
            that nothing is known about them.
        changed_buffers: Buffers and parameters that a call changes, without any effect on the
            outputs of later calls.
    """

    compared: bool
    reason: NotCompared | None = None
    detail: str | None = None
    precision: Literal["float64", "float32"] | None = None
    narrow_operator: str | None = None
    output_error: float | None = None
    own_float32_error: float | None = None
    tolerance: float | None = None
    layers: int = 0
    worst_layer: str | None = None
    worst_layer_error: float | None = None
    worst_layer_tolerance: float | None = None
    layer_errors: tuple[LayerError, ...] = ()
    layers_on_noise: tuple[str, ...] = ()
    layers_not_compared: tuple[str, ...] = ()
    changed_buffers: tuple[str, ...] = ()
