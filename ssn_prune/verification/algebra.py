"""Algebra check: the plan, applied in float64, must not change the network's answers.

Rounding plays no part at 1e-11, so any deviation is a mistake in a formula, a fold or a graph fact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ssn_prune.graph.plan import Plan
from ssn_prune.graph.rewrite import apply_plan
from ssn_prune.layers.copying import floating_copy
from ssn_prune.report import AlgebraCheck
from ssn_prune.tensors import WideResults, relative_error, to_dtype
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
    reference = floating_copy(original, torch.float64)
    pruned = apply_plan(plan, reference)
    names = [layer.name for layer in plan.layers if layer.exposed]
    wide = [to_dtype(inputs, torch.float64) for _ in range(2)]
    with WideResults():
        expected, expected_layers = run_with_taps(reference, wide[0], names)
        actual, actual_layers = run_with_taps(pruned, wide[1], names)

    output_error = relative_error(actual, expected)
    worst, worst_error, first_off = None, 0.0, None
    for name, values in expected_layers.items():
        error = relative_error(actual_layers.get(name, ()), values)
        if worst is None or error > worst_error:
            worst, worst_error = name, error
        if first_off is None and error > ALGEBRA_TOLERANCE:
            first_off = name
    passed = output_error <= ALGEBRA_TOLERANCE and first_off is None
    return AlgebraCheck(passed, output_error, worst, worst_error, first_off, ALGEBRA_TOLERANCE)
