"""Algebra check: applying the plan in float64 must not change the network's outputs.

Rounding errors are far below 1e-11, so any larger deviation is a mistake in a formula, a fold or a
record of the graph. The network runs, the plan is applied to that same copy, and it runs again, so
there is never more than one float64 copy.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.rewrite import rewrite
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.nested import relative_error
from ssn_prune.surgery.output_hooks import ComparedOutputs, SpilledOutputs
from ssn_prune.surgery.results import layer_error
from ssn_prune.surgery.undefined import require_defined
from ssn_prune.verification.reference_outputs import run_float64
from ssn_prune.verification.results import AlgebraCheck

ALGEBRA_TOLERANCE = 1e-11
"""Largest error relative to the largest value, at the output and at every switchable layer."""


def check_algebra(original: nn.Module, plan: Plan, inputs: tuple[Any, ...]) -> AlgebraCheck:
    """Compare the pruned and the original network in float64, at the output and at every layer.

    A layer that has moved into a neighbour is compared at the neighbour's output.

    Args:
        original: The reference, with switchable layers; not changed.
        plan: The plan that makes the pruned network from it.
        inputs: Inputs of one call.

    Returns:
        The largest relative errors. The check fails if one exceeds :data:`ALGEBRA_TOLERANCE` or is
        not finite. ``first_layer_off`` is the first such layer in execution order.

    Raises:
        CaptureError: The network does not run in float64.
        VerificationError: The network returns NaN.
    """
    return check_algebra_in_place(float64_copy(original), plan, inputs)[0]


def check_algebra_in_place(
    wide: nn.Module, plan: Plan, inputs: tuple[Any, ...]
) -> tuple[AlgebraCheck, list[Tensor]]:
    """Like :func:`check_algebra`, but rewrites the float64 copy and also returns its outputs.

    Args:
        wide: The float64 copy. It is changed and must not be used afterwards.
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
        errors = {name: max(calls) for name, calls in compared.in_order()}
    return _judged(relative_error(actual, outputs), errors), outputs


def _judged(output_error: float, layer_errors: dict[str, float]) -> AlgebraCheck:
    worst = max(layer_errors, key=lambda name: layer_errors[name], default=None)
    first_off = next(
        (n for n, error in layer_errors.items() if not error <= ALGEBRA_TOLERANCE), None
    )
    return AlgebraCheck(
        passed=output_error <= ALGEBRA_TOLERANCE and first_off is None,
        output_error=output_error,
        worst_layer=worst,
        worst_layer_error=0.0 if worst is None else layer_errors[worst],
        first_layer_off=first_off,
        tolerance=ALGEBRA_TOLERANCE,
        layers=tuple(layer_error(n, e, ALGEBRA_TOLERANCE) for n, e in layer_errors.items()),
    )
