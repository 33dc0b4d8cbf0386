"""The errors of a network's layers inside a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import max_error
from ssn_prune.surgery.output_hooks import SpilledOutputs
from ssn_prune.surgery.results import LayerError, layer_error
from ssn_prune.verification.compare import rounding_bound
from ssn_prune.verification.reference_outputs import float32_outputs, run_float64

RunAt = Callable[[tuple[Any, ...], Sequence[str]], Mapping[str, Tensor]]
"""Runs a file on the inputs of one call and returns values inside it, by name; none if they cannot
be read."""


def layer_errors_at(
    original: nn.Module,
    batch: tuple[Tensor, ...],
    layer_values: Mapping[str, str],
    run_at: RunAt,
) -> tuple[LayerError, ...]:
    """Run a file up to each layer's output, and compare each with a bound of its own.

    Args:
        original: The network with switchable layers; not changed.
        batch: Inputs of one call.
        layer_values: The names of the values that equal the layers' outputs, by layer.
        run_at: Runs the file.

    Returns:
        The errors in execution order, without layers that are called several times. Empty if the
        file does not say where the layers are.
    """
    layers = {n for n, module in original.named_modules() if isinstance(module, SwitchableNorm)}
    values = {name: value for name, value in layer_values.items() if name in layers}
    try:
        converted = run_at(batch, list(values.values())) if values else {}
    except InferenceRuntimeError:  # a wrong file may also name wrong values for its layers
        return ()
    if not converted:
        return ()
    found = []
    with SpilledOutputs() as exact, SpilledOutputs() as own:
        run_float64(float64_copy(original), batch, values, exact)
        float32_outputs(original, [batch], values, own)
        for name, calls in exact.layers.items():
            if calls != 1:
                continue  # the stored value is that of one call
            (reference,), (single,) = exact.read(name, 0) or [], own.read(name, 0) or []
            own_error, scale = max_error(single, reference)
            error, _ = max_error(converted[values[name]], reference)
            bound, unit = rounding_bound(own_error, scale), scale or 1.0
            found.append(layer_error(name, error / unit, bound / unit))
    return tuple(found)
