"""Rounding check: the exported file in its runtime against the original in float64.

The bound is set by the original itself: four times its own float32 error on the same inputs, plus
one float32 unit of the largest output. There is no looser constant. If the network has layers of
another implementation, the reference is that network, and the error is the smaller one of it and of
the one with layers of ssn_prune.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssn_prune.surgery.nested import max_error, top1_agreement
from ssn_prune.verification.reference_outputs import ReferenceOutputs
from ssn_prune.verification.results import RoundingCheck

Run = Callable[[tuple[Any, ...]], list[Tensor]]
"""Runs a file on the inputs of one call; its outputs in the order of the network's own."""

ERROR_FACTOR = 4.0
SCALE_FACTOR = 1e-6


def rounding_bound(original_error: float, scale: float) -> float:
    """4 x the reference's own float32 error + 1e-6 x the largest reference value."""
    return ERROR_FACTOR * original_error + SCALE_FACTOR * scale


def check_rounding(
    run: Run, batches: Sequence[tuple[Tensor, ...]], outputs: ReferenceOutputs
) -> RoundingCheck:
    """Run the file and compare it with the reference, which has run already.

    Args:
        run: Runs the file.
        batches: Inputs of several calls.
        outputs: What the reference gives for them.

    Returns:
        Errors over all batches together; with several outputs, those of the one that uses most of
        its own bound. Outputs that are not finite never pass.

    Raises:
        InferenceRuntimeError: The file cannot be run.
    """
    converted = [run(batch) for batch in batches]
    errors_of = [_OutputErrors(len(outputs.float32)) for _ in outputs.exact[0]]
    for batch, exact in enumerate(outputs.exact):
        given = converted[batch]
        missing = len(given) != len(exact)
        for index, errors in enumerate(errors_of):
            value = torch.empty(0) if missing else given[index]
            errors.add(value, [own[batch][index] for own in outputs.float32], exact[index])
    worst = max(errors_of, key=lambda errors: errors.ratio)
    agreements = [
        top1_agreement(given[0], exact[0], margin=2 * errors_of[0].bound)
        for given, exact in zip(converted, outputs.exact, strict=True)
        if given[0].shape == exact[0].shape
    ]
    known = [share for share in agreements if share is not None]
    agreement = min(known, default=None)
    return RoundingCheck(
        passed=all(errors.passed for errors in errors_of) and agreement in (None, 1.0),
        max_error=worst.error,
        original_float32_error=worst.own_error,
        bound=worst.bound,
        scale=worst.scale,
        top1_agreement=agreement,
        inputs=sum(len(batch[0]) for batch in batches),
        batch_sizes=tuple(len(batch[0]) for batch in batches),
        first_layer_off=None,
    )


class _OutputErrors:
    """Errors of one output over all batches; every output has a bound of its own."""

    def __init__(self, networks: int) -> None:
        self.error = self.scale = 0.0
        self.own_errors = [0.0] * networks

    def add(self, value: Tensor, own: Sequence[Tensor], exact: Tensor) -> None:
        error, scale = max_error(value, exact)
        self.error = max(self.error, error)
        for index, single in enumerate(own):
            self.own_errors[index] = max(self.own_errors[index], max_error(single, exact)[0])
        self.scale = max(self.scale, scale)

    @property
    def own_error(self) -> float:
        """The smallest of the networks: a poor formula is no excuse."""
        return min(self.own_errors)

    @property
    def bound(self) -> float:
        return rounding_bound(self.own_error, self.scale)

    @property
    def passed(self) -> bool:
        return bool(np.isfinite(self.bound)) and self.error <= self.bound

    @property
    def ratio(self) -> float:
        if self.passed:
            return self.error / self.bound if self.bound > 0 else 0.0
        return float("inf")
