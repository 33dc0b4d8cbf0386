"""Algebra check: the plan, applied in float64, must not change the network's answers.

Rounding plays no part at 1e-11, so any deviation is a mistake in a formula, a fold or a graph fact.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.rewrite import rewrite
from ssn_prune.surgery._shared_parameters import WriteGuard
from ssn_prune.surgery.copying import floating_copy
from ssn_prune.surgery.nested import relative_error
from ssn_prune.verification.answers import run_wide
from ssn_prune.verification.precision import Copier, in_float64
from ssn_prune.verification.results import AlgebraCheck
from ssn_prune.verification.turns import InTurns

ALGEBRA_TOLERANCE = 1e-11
"""Largest error relative to the largest value, at the output and at every switchable layer."""


def check_algebra(original: nn.Module, plan: Plan, inputs: tuple[Any, ...]) -> AlgebraCheck:
    """Compare pruned and original network in float64, at the output and at every layer.

    Layers whose output has moved into a neighbour are compared where the neighbour's appears.

    Args:
        original: The reference, with switchable layers; not changed.
        plan: The plan that makes the pruned network from it.
        inputs: Inputs of one call.

    Returns:
        The largest relative errors; not passed if one exceeds :data:`ALGEBRA_TOLERANCE` or is not
        finite. ``first_layer_off`` is in execution order.
    """

    def check(copied: Copier) -> AlgebraCheck:
        return compare_in_turns(original, copied(original), plan, inputs)[0]

    return in_float64(check)


def compare_in_turns(
    original: nn.Module,
    wide: nn.Module,
    plan: Plan,
    inputs: tuple[Any, ...],
) -> tuple[AlgebraCheck, list[Tensor]]:
    """As :func:`check_algebra`, with a copy for ``WideArithmetic`` that is made already.

    Args:
        original: The reference; not changed.
        wide: The copy, which has not run yet: both networks start from the same state.
        plan: The plan.
        inputs: Inputs of one call.

    Returns:
        The check, and what the original gives.

    Raises:
        SharedWriteError: The network writes to parameters that it shares with ``original``.
    """
    pruned = rewrite(plan, floating_copy(original, torch.float64))
    # The layers whose own output still appears somewhere in the pruned network.
    layers = [layer.name for layer in plan.layers if layer.exposed]
    errors: dict[str, float] = {}
    # A guard around both: torch has one flag for all threads that says whether there is any, and
    # each puts back what it found, so the first must be the last.
    with (
        WriteGuard(original),
        InTurns(lambda tap: run_wide(original, wide, inputs, layers, tap)) as expected,
    ):

        def compare(name: str, value: Tensor) -> None:
            reference = expected.take(name)
            found = [] if reference is None else [reference]
            errors[name] = max(errors.get(name, 0.0), relative_error([value], found))

        actual = run_wide(original, pruned, inputs, layers, compare)
        outputs = expected.finish()
        left = expected.layers
    # Layers in the order of the original, those that only the pruned network runs behind them.
    names = [*left, *(name for name in errors if name not in left)]
    judged = {name: math.inf if left.get(name) else errors[name] for name in names}
    return _judged(relative_error(actual, outputs), judged), outputs


def _judged(output_error: float, layer_errors: dict[str, float]) -> AlgebraCheck:
    worst = max(layer_errors, key=lambda name: layer_errors[name], default=None)
    first_off = next((n for n, error in layer_errors.items() if error > ALGEBRA_TOLERANCE), None)
    return AlgebraCheck(
        passed=output_error <= ALGEBRA_TOLERANCE and first_off is None,
        output_error=output_error,
        worst_layer=worst,
        worst_layer_error=0.0 if worst is None else layer_errors[worst],
        first_layer_off=first_off,
        tolerance=ALGEBRA_TOLERANCE,
    )
