"""Rounding check: the exported file in its runtime against the original in float64.

The bound follows from the original itself: four times its own float32 error on the same inputs,
plus 1e-6 of the largest output, or of the range of the activation that makes the output (see
:mod:`ssn_prune.runtime.file_outputs`). No other constant loosens it. If the network has layers of
another implementation, that network is the reference. Its own float32 error is then the smaller of
its error and that of the network with layers of ssn_prune.

A file that exceeds this bound may do so because a formula of one normalizer loses more digits than
the layer with gates does: the mean over a layer whose values are 100 and deviate by 0.5, for
example. So what these formulas lose in float32, measured on the same inputs before anything is
folded, counts instead if it is larger (:mod:`ssn_prune.verification.selected_forms`), up to ten
times the bound. A fold that loses digits is found all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssn_prune.runtime.file_outputs import FileOutput
from ssn_prune.surgery.nested import max_error, top1_agreement
from ssn_prune.surgery.rounding_bounds import NEAR
from ssn_prune.verification.reference_outputs import ReferenceOutputs
from ssn_prune.verification.results import RoundingCheck

Run = Callable[[tuple[Any, ...]], list[Tensor]]
"""Runs a file on the inputs of one call, and returns its outputs in the network's order."""

ERROR_FACTOR = 4.0
SCALE_FACTOR = 1e-6


def rounding_bound(original_error: float, scale: float) -> float:
    """The bound: 4 x the reference's own float32 error + 1e-6 x the scale of its values."""
    return ERROR_FACTOR * original_error + SCALE_FACTOR * scale


def check_rounding(
    run: Run,
    batches: Sequence[tuple[Tensor, ...]],
    outputs: ReferenceOutputs,
    listed: Sequence[FileOutput] = (),
) -> RoundingCheck:
    """Run the file and compare it with the outputs of the reference.

    Args:
        run: Runs the file.
        batches: Inputs of several calls.
        outputs: Outputs of the reference for them.
        listed: What is known of the file's outputs, in their order.

    Returns:
        Errors over all batches together; with several outputs, those of the one that uses the most
        of its own bound. NaN never passes, nor does an infinity that the reference lacks.

    Raises:
        InferenceRuntimeError: The file cannot be run.
    """
    converted = [run(batch) for batch in batches]
    errors_of = errors_of_outputs(converted, outputs, listed)
    worst = max(errors_of, key=lambda errors: errors.ratio)
    agreements = [
        top1_agreement(given[0], exact[0], margin=2 * errors_of[0].bound)
        for given, exact in zip(converted, outputs.exact, strict=True)
        if given and given[0].shape == exact[0].shape
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
        output=worst.output.name,
        activation=worst.output.activation,
        selected_float32_error=worst.selected_error,
    )


def errors_of_outputs(
    converted: Sequence[Sequence[Tensor]],
    outputs: ReferenceOutputs,
    listed: Sequence[FileOutput] = (),
) -> list[OutputErrors]:
    """Compare the outputs of a file with those of the reference, one by one.

    Args:
        converted: Outputs of the file for each batch.
        outputs: Outputs of the reference for the same batches.
        listed: The file's outputs, in its order; empty if they are not known.
    """
    count = len(outputs.exact[0])
    if len(listed) != count:
        listed = [FileOutput(f"output {index}") for index in range(count)]
    selected = outputs.selected
    errors_of = [
        OutputErrors(entry, len(outputs.float32), None if selected is None else 0.0)
        for entry in listed
    ]
    for batch, exact in enumerate(outputs.exact):
        given = converted[batch]
        missing = len(given) != len(exact)
        for index, errors in enumerate(errors_of):
            value = torch.empty(0) if missing else given[index]
            errors.add(value, [own[batch][index] for own in outputs.float32], exact[index])
            if selected is not None:
                errors.add_selected(*(precision[batch][index] for precision in selected))
    return errors_of


class OutputErrors:
    """Errors of one output over all batches; each output has a bound of its own."""

    def __init__(
        self, output: FileOutput, networks: int, selected_error: float | None = None
    ) -> None:
        self.output = output
        self.error = 0.0
        self.scale = 0.0 if output.activation is None else 1.0
        self.own_errors = [0.0] * networks
        self.selected_error = selected_error

    def add(self, value: Tensor, own: Sequence[Tensor], exact: Tensor) -> None:
        """Add a batch: the file's output, those in float32, and the one in float64."""
        error, scale = max_error(value, exact)
        self.error = max(self.error, error)
        for index, single in enumerate(own):
            self.own_errors[index] = max(self.own_errors[index], max_error(single, exact)[0])
        self.scale = max(self.scale, scale)

    def add_selected(self, value: Tensor, exact: Tensor) -> None:
        """Add a batch of the network with the selected normalizers, in float32 and in float64."""
        self.selected_error = max(self.selected_error or 0.0, max_error(value, exact)[0])

    @property
    def own_error(self) -> float:
        """The smallest float32 error of the networks: an inaccurate formula must not raise it."""
        return min(self.own_errors)

    @property
    def relative_error(self) -> float:
        """The error in units of the scale."""
        if self.scale > 0:
            return self.error / self.scale
        return float("inf") if self.error > 0 else 0.0

    @property
    def bound(self) -> float:
        """The largest error that passes."""
        selected = self.selected_error
        more = selected if selected is not None and math.isfinite(selected) else 0.0
        usual = rounding_bound(self.own_error, self.scale)
        # Our own formulas must not excuse any loss: at most ten times the usual bound.
        return min(rounding_bound(max(self.own_error, more), self.scale), NEAR * usual)

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound, and the bound is finite."""
        return bool(np.isfinite(self.bound)) and self.error <= self.bound

    @property
    def ratio(self) -> float:
        """The share of the bound that the error uses; infinite if there is no finite bound."""
        if not np.isfinite(self.bound):
            return float("inf")
        if self.bound > 0:
            return self.error / self.bound
        return float("inf") if self.error > 0 else 0.0
