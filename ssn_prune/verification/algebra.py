"""Algebra check: the plan, applied in float64, must not change the network's answers.

Rounding plays no part at 1e-11, so any deviation is a mistake in a formula, a fold or a graph fact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.graph.edits import DeferredEdits
from ssn_prune.graph.plan import Plan
from ssn_prune.graph.rewrite import apply_plan
from ssn_prune.layers.copying import wide_copy
from ssn_prune.layers.running import WriteGuard
from ssn_prune.report import AlgebraCheck
from ssn_prune.tensors import WideArithmetic, relative_error, to_dtype
from ssn_prune.verification.answers import exact_answers
from ssn_prune.verification.precision import Copier, in_float64
from ssn_prune.verification.taps import run_with_taps

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
        exact = exact_answers(original, wide, [inputs], layers_to_see(plan))
        return pruned.compare(original, inputs, exact.outputs[0], exact.layers)

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
        self,
        original: nn.Module,
        inputs: tuple[Any, ...],
        outputs: list[Tensor],
        layers: dict[str, list[Tensor]],
    ) -> AlgebraCheck:
        """As :func:`check_algebra`, where the original has run already.

        Args:
            original: The reference; not changed.
            inputs: Inputs of one call.
            outputs: What the original gives for it.
            layers: What its :func:`layers_to_see` give, by name; used up.

        Raises:
            SharedWriteError: The network writes to parameters that it shares with ``original``.
        """
        comparison = _Comparison(layers)
        with WriteGuard(original), WideArithmetic(self._edits.computed):
            wide = to_dtype(inputs, torch.float64)
            actual = run_with_taps(self._pruned, wide, self._layers, comparison)
        return _judged(relative_error(actual, outputs), comparison.layer_errors())


class _Comparison:
    """A tap that compares with what another network gave, and forgets that then."""

    def __init__(self, expected: dict[str, list[Tensor]]) -> None:
        self._expected = expected
        self._errors = dict.fromkeys(expected, 0.0)
        self._order = list(expected)

    def __call__(self, name: str, value: Tensor) -> None:
        waiting = self._expected.get(name)
        error = relative_error([value], [waiting.pop(0)]) if waiting else float("inf")
        self._errors[name] = max(self._errors.get(name, 0.0), error)

    def layer_errors(self) -> dict[str, float]:
        """By name, in the order of the other network; inf where the numbers of calls differ."""
        return {
            name: float("inf") if self._expected[name] else self._errors[name]
            for name in self._order
        }


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
