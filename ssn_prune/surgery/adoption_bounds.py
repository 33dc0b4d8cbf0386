"""Whether an adopted network differs from the given one by more than rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from ssn_prune.surgery.adoption_errors import layer_differs, output_differs
from ssn_prune.surgery.results import AdoptionCheck, LayerError, layer_error


@dataclass(frozen=True)
class Errors:
    """Errors relative to scale.

    Attributes:
        output: The error of the network's outputs.
        layers: The errors of all calls of each switchable layer, by its name.
    """

    output: float
    layers: dict[str, list[float]]


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
