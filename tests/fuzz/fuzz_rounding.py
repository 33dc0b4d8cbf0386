"""The float32 bound: err(pruned) <= 4 err(original) + 1e-6 s, output by output.

One error is one sample of rounding errors, and an output may have only a few entries. So if two
inputs exceed the bound, it is checked again: first with the errors of both networks over
MORE_INPUTS inputs; then with err(original) no smaller than the effect on the reference of one
rounding unit at all operands, statistics and results. The latter is for badly conditioned graphs
whose original is exact by luck (equal numbers whose mean is exact, opposite numbers that cancel).
Both cases are counted, and the tests limit their number.
"""

from __future__ import annotations

import contextlib
import math

from fuzz_graphs import Graph
from fuzz_outcome import FuzzError, Outcome
from fuzz_parameters import draw_parameters
from fuzz_reference import evaluate, jitter_by
from torch import Tensor

FACTOR, SHARE = 4.0, 1e-6
MORE_INPUTS = 32


def errors_of(runs: list[list[Tensor]], references: tuple[list[Tensor], ...]) -> tuple[float, ...]:
    """The largest error of each output over all inputs; inf where it is not finite."""
    worst = [0.0] * len(references[0])
    for outputs, expected in zip(runs, references, strict=True):
        for index, (value, exact) in enumerate(zip(outputs, expected, strict=True)):
            error = math.inf
            if value.shape == exact.shape:
                error = float((value.double() - exact).abs().max())
            worst[index] = max(worst[index], error if math.isfinite(error) else math.inf)
    return tuple(worst)


def scales_of(references: tuple[list[Tensor], ...]) -> tuple[float, ...]:
    """The largest absolute value of each output over all inputs."""
    outputs = zip(*references, strict=True)
    return tuple(max(float(value.abs().max()) for value in values) for values in outputs)


def check_rounding(
    outcome: Outcome,
    kind: str,
    errors: tuple[float, ...],
    own: tuple[float, ...],
    references: tuple[list[Tensor], ...],
) -> None:
    """Require the float32 bound.

    Raises:
        FuzzError: An error exceeds it.
    """
    for index, scale in enumerate(scales_of(references)):
        bound = FACTOR * own[index] + SHARE * scale
        if errors[index] <= bound:
            outcome.note(kind, errors[index] / bound)
        else:
            text = (
                f"output {index}: error {errors[index]:.2e}, the original's own {own[index]:.2e}, "
                f"scale {scale:.2e}"
            )
            raise FuzzError(kind, text)


def check_with_conditioning(
    outcome: Outcome,
    kind: str,
    graph: Graph,
    errors: tuple[float, ...],
    own: tuple[float, ...],
    inputs: tuple[Tensor, ...],
    references: tuple[list[Tensor], ...],
) -> None:
    """Require the float32 bound, with the effect of rounding on the reference taken into account.

    Raises:
        FuzzError: An error exceeds even that.
    """
    with contextlib.suppress(FuzzError):
        check_rounding(outcome, kind, errors, own, references)
        return
    parameters = draw_parameters(graph)
    moved = [
        evaluate(graph, parameters, x.double(), jitter_by(2.0**-23, seed=index))
        for index, x in enumerate(inputs)
    ]
    own = tuple(max(pair) for pair in zip(own, errors_of(moved, references), strict=True))
    check_rounding(outcome, f"{kind}, ill conditioned", errors, own, references)
    outcome.ill_conditioned += 1
