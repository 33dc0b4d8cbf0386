"""Algebra check: applying the plan in float64 must not change the network's outputs.

Rounding errors are far below 1e-11, so any larger deviation is a mistake in a formula, a fold or a
record of the graph. The exception are values whose mean is 10,000 deviations and more, where
float64 itself loses that much: if an error is above 1e-11, what the original loses in float64 is
estimated from its float32 error, as in :mod:`ssn_prune.surgery.rounding_bounds`, and allowed, too.

The network runs, the plan is applied to that same copy, and it runs again, so there is never more
than one float64 copy.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.rewrite import rewrite
from ssn_prune.surgery.adoption_bounds import Errors
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import relative_error
from ssn_prune.surgery.output_hooks import ComparedOutputs, SpilledOutputs
from ssn_prune.surgery.results import LayerError, layer_error
from ssn_prune.surgery.rounding_bounds import FLOAT64_TOLERANCE, float64_bound
from ssn_prune.surgery.undefined import require_defined
from ssn_prune.verification.reference_outputs import float32_outputs, run_float64
from ssn_prune.verification.results import AlgebraCheck


def check_algebra(original: nn.Module, plan: Plan, inputs: tuple[Any, ...]) -> AlgebraCheck:
    """Compare the pruned and the original network in float64, at the output and at every layer.

    A layer that has moved into a neighbour is compared at the neighbour's output.

    Args:
        original: The reference, with switchable layers; not changed.
        plan: The plan that makes the pruned network from it.
        inputs: Inputs of one call.

    Returns:
        The largest relative errors. The check fails if one exceeds its bound or is not finite.
        ``first_layer_off`` is the first such layer in execution order.

    Raises:
        CaptureError: The network does not run in float64.
        VerificationError: The network returns NaN.
    """
    return check_algebra_in_place(float64_copy(original), original, plan, inputs)[0]


def check_algebra_in_place(
    wide: nn.Module, original: nn.Module, plan: Plan, inputs: tuple[Any, ...]
) -> tuple[AlgebraCheck, list[Tensor]]:
    """Like :func:`check_algebra`, but rewrites the float64 copy and also returns its outputs.

    Args:
        wide: The float64 copy. It is changed and must not be used afterwards.
        original: The network that it is a copy of; not changed.
        plan: The plan.
        inputs: Inputs of one call.

    Returns:
        The check, and the outputs of the original.
    """
    # The layers whose own output still exists in the pruned network.
    layers = [layer.name for layer in plan.layers if layer.exposed]
    with SpilledOutputs() as expected:
        outputs = run_float64(wide, inputs, layers, expected)
        compared = ComparedOutputs(expected, relative_error)
        actual = run_float64(rewrite(plan, wide), inputs, layers, compared)
        require_defined(outputs, compared.undefined)
        errors = Errors(relative_error(actual, outputs), dict(compared.in_order()))
        own = Errors(0.0, {})
        if not max([errors.output, *map(max, errors.layers.values())]) <= FLOAT64_TOLERANCE:
            single = ComparedOutputs(expected, relative_error)
            (narrow,) = float32_outputs(original, [inputs], layers, single)
            own = Errors(relative_error(narrow, outputs), single.errors)
    return _judged(errors, own), outputs


def _judged(errors: Errors, own: Errors) -> AlgebraCheck:
    found = []
    for name, calls in errors.layers.items():
        single = own.layers.get(name, [])
        bounds = map(float64_bound, single + [0.0] * (len(calls) - len(single)))
        pairs = zip(calls, bounds, strict=False)
        found.append(LayerError(name, *max(pairs, key=lambda pair: pair[0] / pair[1])))
    worst = max(found, key=lambda layer: layer.error, default=None)
    first_off = next((layer.layer for layer in found if not layer.error <= layer.bound), None)
    bound = float64_bound(own.output)
    return AlgebraCheck(
        passed=errors.output <= bound and first_off is None,
        output_error=errors.output,
        worst_layer=None if worst is None else worst.layer,
        worst_layer_error=0.0 if worst is None else worst.error,
        first_layer_off=first_off,
        tolerance=max([bound, *(layer.bound for layer in found)]),
        layers=tuple(layer_error(layer.layer, layer.error, layer.bound) for layer in found),
    )
