"""The properties that must hold for each graph.

err(f) is the largest absolute error of an output of f against the float64 reference, over two
inputs, s the largest absolute reference value of that output.

- float64: err <= 1e-11 s for the network itself (or the reference is wrong) and when pruned. Graphs
  whose conditioning does not allow that are not generated (``NOISE_LIMIT``).
- float32: err(pruned) <= 4 err(original) + 1e-6 s; see fuzz_rounding.
- The folds are those that the spec requires.
- Pruning the result again changes nothing, pruning the original again gives the same bits, and the
  original is unchanged.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import Any

import torch
from fuzz_folds import ALL_RULES, expected_folds, undefined_layers
from fuzz_graphs import Graph
from fuzz_network import build
from fuzz_outcome import FuzzError, Outcome
from fuzz_parameters import draw_input, draw_parameters
from fuzz_reference import evaluate
from fuzz_rounding import (
    MORE_INPUTS,
    check_rounding,
    check_with_conditioning,
    errors_of,
    scales_of,
)
from fuzz_speed import quick_prunes
from fuzz_usable import shapes_of
from torch import Tensor, nn

from ssn_prune import PruneResult, prune
from ssn_prune.errors import NoSwitchableLayerError, UndefinedVarianceError

TOLERANCE = 1e-11
INPUTS = 2


@dataclass(frozen=True)
class Checked:
    """A graph that passed, with the data for the check in the runtime."""

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
        rules: The folds that the package has.
        thoroughly: Capture again for every prune, as for users; see fuzz_speed.

    Raises:
        FuzzError: A property does not hold, or the package raised an error.
    """
    try:
        with contextlib.nullcontext() if thoroughly else quick_prunes():
            return _check(graph, rules)
    except FuzzError:
        raise
    except Exception as error:  # any error of the package is a finding
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


def _check_folds(
    outcome: Outcome, graph: Graph, result: PruneResult, expected: dict[str, Any]
) -> None:
    if result.report.capture_error is not None:
        raise FuzzError("capture", result.report.capture_error)
    for layer in result.report.layers:
        name = layer.name.removeprefix("parts.")
        fold = expected.get(name)
        into = None if fold is None else f"parts.{fold.into}"
        if (layer.fold is not None) != (fold is not None) or layer.folded_into != into:
            text = (
                f"{name}: fold {layer.fold!r} into {layer.folded_into} ({layer.reason}), "
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
