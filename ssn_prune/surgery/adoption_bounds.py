"""How far an adopted network may differ from the given one.

In float64, by

    1e-11 + 4 x 2^-29 x the given network's own float32 error,

all relative to the largest value. 2^-29 is the ratio of the two precisions, so the second term is
what the given formula itself loses in float64. For example, E[x^2] - mean^2, the reference
implementation's formula, is off by 4e-11 in float64 at mean 100 and deviation 0.1, and by 8 % in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from ssn_prune.surgery.adoption_errors import layer_differs, output_differs
from ssn_prune.surgery.results import AdoptionCheck, LayerError, layer_error

FLOAT64_TOLERANCE = 1e-11
PRECISION_RATIO = 2.0**-29
ERROR_FACTOR = 4.0
NEAR = 10.0
"""How many times what is allowed an error of rounding may be, if it exceeds that at all."""
FLOAT32_TOLERANCE = 1e-5
"""Where float64 is impossible: added to 4 x the adopted network's own float32 error."""


@dataclass(frozen=True)
class Errors:
    """Errors relative to scale.

    Attributes:
        output: The error of the network's outputs.
        layers: The errors of all calls of each switchable layer, by its name.
    """

    output: float
    layers: dict[str, list[float]]


def float64_bound(own_error: float) -> float:
    """The bound in float64; an own error that is not finite counts as 1."""
    known = own_error if math.isfinite(own_error) else 1.0
    return FLOAT64_TOLERANCE + ERROR_FACTOR * PRECISION_RATIO * known


def is_rounding(error: float, bound: float) -> bool:
    """Whether an error in float64 is explained by the digits that the network itself loses.

    Float32 kernels sum in float64, so the float32 error may understate the loss by a few times: ten
    times the second term counts as rounding. A mistake in code or in a formula is far above it.
    """
    return error <= max(bound, NEAR * (bound - FLOAT64_TOLERANCE))


def float32_bound(own_error: float) -> float:
    """The bound in float32, from the adopted network's own error; 0 if that is not finite."""
    return ERROR_FACTOR * own_error + FLOAT32_TOLERANCE if math.isfinite(own_error) else 0.0


def judged(
    base: AdoptionCheck,
    given: nn.Module,
    explain: Callable[[str, int], str | None],
    errors: Errors,
    own: Errors,
    bound: Callable[[float], float],
) -> AdoptionCheck:
    """Compare every error with its bound.

    Args:
        base: What is known about the comparison so far.
        given: The network as it was built and loaded.
        explain: From a layer's name and the number of its call to what differs there, if known.
        errors: Errors of the adopted network.
        own: The float32 errors from which the bounds follow.
        bound: From such an error to what is allowed.

    Returns:
        The errors, and the layer that uses most of its bound.

    Raises:
        UnsupportedLayerError: An error exceeds its bound; the first such layer is named.
    """
    found: list[LayerError] = []
    for name, calls in errors.layers.items():
        own_calls = own.layers.get(name, [])
        checked: list[LayerError] = []
        for call, error in enumerate(calls):
            allowed = bound(own_calls[call] if call < len(own_calls) else 0.0)
            if not error <= allowed:
                difference = explain(name, call)
                raise layer_differs(given, name, error, allowed, str(base.precision), difference)
            checked.append(LayerError(name, error, allowed))
        if checked:
            found.append(max(checked, key=_share))
    allowed = bound(own.output)
    if not errors.output <= allowed:
        raise output_differs(given, errors.output, allowed, str(base.precision))
    worst = max(found, key=_share, default=None)
    return replace(
        base,
        output_error=errors.output,
        own_float32_error=own.output,
        tolerance=allowed,
        layers=len(errors.layers),
        worst_layer=None if worst is None else worst.layer,
        worst_layer_error=None if worst is None else worst.error,
        worst_layer_tolerance=None if worst is None else worst.bound,
        layer_errors=tuple(layer_error(e.layer, e.error, e.bound) for e in found),
    )


def _share(found: LayerError) -> float:
    """The share of its bound that a layer uses; a bound of 0 is met by no error but 0."""
    return found.error / found.bound if found.bound else 0.0
