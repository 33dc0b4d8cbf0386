"""What must hold for one graph.

Let err(f) be the largest absolute error of an output of f against the float64 reference, over two
inputs, and s the largest absolute reference value of that output. One error is one draw of rounding
errors, and an output may have a few entries only, so where the float32 bound is exceeded, it is
asked again: first with the errors over MORE_INPUTS inputs, for both networks; then with
err(original) at least what a unit of rounding at all operands, statistics and results does to the
reference.
The latter is for badly conditioned graphs where the original is exact by luck of its structure
(equal numbers whose mean is exact, opposite numbers that cancel). Both are counted.

- float64: err <= 1e-11 s for the network itself (or the reference is wrong) and when pruned. Graphs
  whose conditioning does not allow that are not generated (``NOISE_LIMIT``).
- float32: err(pruned) <= 4 err(original) + 1e-6 s.
- The folds are those that the spec calls for.
- Pruning again finds nothing, pruning the original again gives the same bits, and the original is
  as it was.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from fuzz_folds import ALL_RULES, expected_folds, undefined_layers
from fuzz_graphs import Graph
from fuzz_network import build
from fuzz_parameters import draw_input, draw_parameters
from fuzz_reference import evaluate, jitter_by
from fuzz_speed import quick_prunes
from fuzz_usable import shapes_of
from torch import Tensor, nn

from ssn_prune import PruneResult, prune
from ssn_prune.errors import NoSwitchableLayerError, UndefinedVarianceError

TOLERANCE = 1e-11
FACTOR, SHARE = 4.0, 1e-6
INPUTS = 2
MORE_INPUTS = 32


class FuzzError(Exception):
    """A graph for which something does not hold.

    Attributes:
        kind: What does not; the shrinker keeps it.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass
class Outcome:
    """What one graph, or many, gave."""

    graphs: int = 0
    undefined: int = 0
    layers: int = 0
    in_runtime: int = 0
    redrawn: int = 0
    ill_conditioned: int = 0
    folds: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)

    def add(self, other: Outcome) -> None:
        """Take another outcome in."""
        for name in ("graphs", "undefined", "layers", "in_runtime", "redrawn", "ill_conditioned"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.folds += other.folds
        self.refusals += other.refusals
        for key, value in other.worst.items():
            self.note(key, value)

    def note(self, key: str, ratio: float) -> None:
        """Remember the largest ratio of an error to its bound."""
        self.worst[key] = max(self.worst.get(key, 0.0), ratio)


@dataclass(frozen=True)
class Checked:
    """A graph that passed, with what the runtime's check needs."""

    graph: Graph
    outcome: Outcome
    pruned: nn.Module | None = None
    inputs: tuple[Tensor, ...] = ()
    references: tuple[list[Tensor], ...] = ()
    own_errors: tuple[float, ...] = ()


def check(graph: Graph, rules: frozenset[str] = ALL_RULES, *, thoroughly: bool = True) -> Checked:
    """Check one graph in torch.

    Args:
        graph: The graph.
        rules: The folds that the package knows.
        thoroughly: Capture anew for every prune and as for users; see fuzz_speed.

    Raises:
        FuzzError: Something does not hold, or the package raised what it should not.
    """
    try:
        with contextlib.nullcontext() if thoroughly else quick_prunes():
            return _check(graph, rules)
    except FuzzError:
        raise
    except Exception as error:  # whatever the package raises is the finding
        first = str(error).splitlines()[0] if str(error) else ""
        raise FuzzError(f"raised {type(error).__name__}", first) from error


def _check(graph: Graph, rules: frozenset[str]) -> Checked:
    parameters = draw_parameters(graph)
    network = build(graph, parameters)
    inputs = tuple(draw_input(graph, index) for index in range(INPUTS))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    undefined = undefined_layers(graph, shapes_of(graph, parameters))
    if undefined:
        _check_refusal(network, inputs[0].float(), undefined)
        return Checked(graph, Outcome(graphs=1, undefined=1))

    references = tuple(evaluate(graph, parameters, x) for x in inputs)
    outcome = Outcome(graphs=1, layers=len(graph.switchable()))
    wide = copy.deepcopy(network).double()
    _check_wide(outcome, "original64", wide, inputs, references)
    result = _pruned(network, inputs[0].float())
    _check_wide(outcome, "pruned64", _pruned(wide, inputs[0]).model, inputs, references)
    single = tuple(x.float() for x in inputs)
    own = errors_of([_run(network, x) for x in single], references)
    found = errors_of([_run(result.model, x) for x in single], references)
    try:
        check_rounding(outcome, "pruned32", found, own, references)
    except FuzzError:
        more = tuple(draw_input(graph, index) for index in range(MORE_INPUTS))
        exact = tuple(evaluate(graph, parameters, x) for x in more)
        found = errors_of([_run(result.model, x.float()) for x in more], exact)
        own = errors_of([_run(network, x.float()) for x in more], exact)
        check_with_conditioning(outcome, "pruned32", graph, found, own, more, exact)
        outcome.redrawn += 1
        own = errors_of([_run(network, x) for x in single], references)
    _check_folds(outcome, graph, result, expected_folds(graph, parameters, rules))
    _check_again(network, result, single[0])
    _require_same("the caller's network changed", before, network.state_dict())
    return Checked(graph, outcome, result.model, single, references, own)


def _pruned(network: nn.Module, x: Tensor) -> PruneResult:
    return prune(network, x, on_unconverged="exact")


def _run(network: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        outputs: Any = network(x.clone())
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def _check_refusal(network: nn.Module, x: Tensor, names: set[str]) -> None:
    expected = {f"parts.{name}" for name in names}
    try:
        _pruned(network, x)
    except UndefinedVarianceError as error:
        if set(error.layers) != expected:
            text = f"the error names {sorted(error.layers)}, not {sorted(expected)}"
            raise FuzzError("undefined", text) from None
        return
    raise FuzzError("undefined", f"no error for the 0/0 variances of {sorted(expected)}")


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


def _check_wide(
    outcome: Outcome,
    kind: str,
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    references: tuple[list[Tensor], ...],
) -> None:
    errors = errors_of([_run(network, x) for x in inputs], references)
    for index, (error, scale) in enumerate(zip(errors, scales_of(references), strict=True)):
        outcome.note(kind, error / (TOLERANCE * scale))
        if not error <= TOLERANCE * scale:
            raise FuzzError(kind, f"output {index}: relative error {error / scale:.2e}")


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


def _check_folds(
    outcome: Outcome, graph: Graph, result: PruneResult, expected: dict[str, Any]
) -> None:
    if result.report.capture_error is not None:
        raise FuzzError("capture", result.report.capture_error)
    for layer in result.report.layers:
        name = layer.name.removeprefix("parts.")
        fold = expected.get(name)
        into = None if fold is None else f"parts.{fold.into}"
        if (layer.folded is not None) != (fold is not None) or layer.folded_into != into:
            text = (
                f"{name}: folded {layer.folded!r} into {layer.folded_into} ({layer.reason}), "
                f"the spec calls for {fold}"
            )
            raise FuzzError("folds", text)
        if fold is not None:
            outcome.folds[fold.rule] += 1
        else:
            outcome.refusals[str(layer.reason_code)] += 1
    names = {layer.name.removeprefix("parts.") for layer in result.report.layers}
    if names != set(graph.switchable()):
        raise FuzzError("folds", f"the report lists {sorted(names)}")


def _check_again(network: nn.Module, result: PruneResult, x: Tensor) -> None:
    try:
        prune(result.model, x)
    except NoSwitchableLayerError:
        pass
    else:
        raise FuzzError("again", "a pruned network was pruned once more")
    other = _pruned(network, x).model.state_dict()
    _require_same("pruning twice gives different bits", result.model.state_dict(), other)


def _require_same(text: str, first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    if list(first) != list(second):
        raise FuzzError("bits", f"{text}: other entries")
    for key, value in first.items():
        if value.dtype != second[key].dtype or not torch.equal(value, second[key]):
            raise FuzzError("bits", f"{text}: {key}")


def check_quickly(graph: Graph) -> Checked:
    """Check one graph with :func:`fuzz_speed.quick_prunes`."""
    return check(graph, thoroughly=False)
