"""Algebra check: the plan, applied in float64, must not change the network's answers.

Rounding plays no part at 1e-11, so any deviation is a mistake in a formula, a fold or a graph fact.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from ssn_prune.graph.edits import DeferredEdits
from ssn_prune.graph.plan import Plan
from ssn_prune.graph.rewrite import apply_plan
from ssn_prune.layers.copying import wide_copy
from ssn_prune.report import AlgebraCheck
from ssn_prune.tensors import relative_error
from ssn_prune.verification.answers import run_wide
from ssn_prune.verification.precision import Copier, in_float64
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
        wide = copied(original)
        pruned = WidePruned(plan, wide, share_parameters=copied is wide_copy)
        return pruned.compare(original, wide, inputs)[0]

    return in_float64(check)


def layers_to_see(plan: Plan) -> list[str]:
    """The layers whose own output still appears somewhere in the pruned network."""
    return [layer.name for layer in plan.layers if layer.exposed]


class WidePruned:
    """The pruned network for ``WideArithmetic``.

    Args:
        plan: The plan that makes it.
        wide: A copy of the original for ``WideArithmetic`` that has not run yet: the pruned network
            starts from the same state.
        share_parameters: Take no memory for what the plan does not change.
    """

    def __init__(self, plan: Plan, wide: nn.Module, *, share_parameters: bool) -> None:
        self._layers = layers_to_see(plan)
        self._edits = DeferredEdits()
        self._pruned = apply_plan(plan, wide, edits=self._edits, share_parameters=share_parameters)

    def compare(
        self, original: nn.Module, wide: nn.Module, inputs: tuple[Any, ...]
    ) -> tuple[AlgebraCheck, list[Tensor]]:
        """As :func:`check_algebra`.

        Args:
            original: The reference; not changed.
            wide: The copy of it that this was made from, which runs here too.
            inputs: Inputs of one call.

        Returns:
            The check, and what the original gives.

        Raises:
            SharedWriteError: The network writes to parameters that it shares with ``original``.
        """
        layers, computed = self._layers, self._edits.computed
        with InTurns(lambda tap: run_wide(original, wide, inputs, layers, tap)) as expected:
            errors: dict[str, float] = {}

            def compare(name: str, value: Tensor) -> None:
                reference = expected.take(name)
                found = [] if reference is None else [reference]
                errors[name] = max(errors.get(name, 0.0), relative_error([value], found))

            actual = run_wide(original, self._pruned, inputs, layers, compare, computed)
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
