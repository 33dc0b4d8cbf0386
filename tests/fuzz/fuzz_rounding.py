"""The float32 bound: err(pruned) <= 4 err(original) + 1e-6 s, output by output.

One error is one draw of rounding errors, and an output may have a few entries only, so where two
inputs exceed the bound, it is asked again: first with the errors over MORE_INPUTS inputs, for both
networks; then with err(original) at least what a unit of rounding at all operands, statistics and
results does to the reference. The latter is for badly conditioned graphs where the original is
exact by luck of its structure (equal numbers whose mean is exact, opposite numbers that cancel).
Both are counted, and the tests say how many there may be.
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
    """The largest error of each output over all inputs; inf for what is not a finite number."""
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
    """Require the float32 bound, at last with what rounding does to the reference.

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
