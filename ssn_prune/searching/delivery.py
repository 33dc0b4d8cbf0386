"""From a front of candidates to measured files, and to the network to deliver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.costs.records import Costs
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.candidates import present_cost
from ssn_prune.searching.choosing import latency
from ssn_prune.searching.distillation import distil
from ssn_prune.searching.evaluation import compare
from ssn_prune.searching.exploring import Explorer
from ssn_prune.searching.front import spread
from ssn_prune.searching.joint import joint_result
from ssn_prune.searching.latencies import NORM_FREE, Latency, whole_latencies
from ssn_prune.searching.processes import by_first
from ssn_prune.searching.results import FrontPoint, PairChange
from ssn_prune.searching.selections import Changes
from ssn_prune.searching.time_left import TimeLeft
from ssn_prune.selection import Selection, select
from ssn_prune.surgery.copying import copy_model

_NEAR_BOUND = 3
"""Points of the front just within the allowed drop that are always measured."""
_WORTH_DISTILLING = 15.0
"""Loss in points; a short distillation does not recover a larger one."""


@dataclass(frozen=True)
class MeasuredPoints:
    """The points of the front, measured as whole files.

    Attributes:
        changes: The changes of each point.
        points: From the slowest, the original, to the fastest.
        all_bn: The network with BN/BN everywhere; None if a layer does not offer it.
        norm_free_ms: Latency without norms in the same run, or that of the costs.
        additive_error: See :class:`ssn_prune.searching.results.SearchReport`.
    """

    changes: tuple[Changes, ...]
    points: tuple[FrontPoint, ...]
    all_bn: FrontPoint | None
    norm_free_ms: float
    additive_error: float | None


def measure_points(
    explorer: Explorer,
    model: nn.Module,
    loaded: LoadedCheckpoint,
    costs: Costs,
    conversion: ConvertOptions,
    front: Sequence[Changes],
    all_bn: Changes | None,
    *,
    timed: bool,
) -> MeasuredPoints:
    """Measure points of the front as whole files, all in one run.

    Args:
        explorer: The explorer that measured the candidates.
        model: The original on its device.
        loaded: Its checkpoint.
        costs: The costs, to predict latencies with.
        conversion: How the result will be converted.
        front: From the original to the fastest candidate.
        all_bn: BN/BN everywhere; None if a layer does not offer it.
        timed: Whether to time files. If not, the costs are those of another device, and predict the
            latencies there.
    """
    chosen = _worth_measuring(explorer, front)
    wanted = [*chosen, *([] if all_bn is None or all_bn in chosen else [all_bn])]

    def latencies() -> dict[str, Latency]:
        networks = {
            str(index): loaded.model if not changes else explorer.network(loaded.model, changes)
            for index, changes in enumerate(wanted)
        }
        return whole_latencies(loaded, networks, conversion, explorer.options, explorer.progress)

    explorer.learn_repairs(wanted)
    found = by_first(latencies) if timed else {}
    base = found[NORM_FREE].median if timed else costs.norm_free_ms or math.nan
    selection = select(model)
    points = [
        _point(explorer, selection, costs, changes, found.get(str(index)), base)
        for index, changes in enumerate(wanted)
    ]
    errors = [p.predicted_ratio - p.ratio for p in points if p.ratio is not None]
    return MeasuredPoints(
        changes=tuple(chosen),
        points=tuple(points[: len(chosen)]),
        all_bn=None if all_bn is None else points[wanted.index(all_bn)],
        norm_free_ms=base,
        additive_error=math.sqrt(sum(e * e for e in errors) / len(errors)) if errors else None,
    )


def _worth_measuring(explorer: Explorer, front: Sequence[Changes]) -> list[Changes]:
    """Points spread over the front, and those around the allowed drop."""
    results, options = explorer.journal.joint, explorer.options
    place = {changes: float(index) for index, changes in enumerate(front)}
    kept = set(spread(list(front), place, options.points))
    allowed = options.allowed_drop
    if allowed is not None:
        within = [c for c in front if results[c].drop <= allowed]
        beyond = [c for c in front if results[c].drop > allowed]
        kept |= {*within[-_NEAR_BOUND:], *beyond[:1]}
    return [changes for changes in front if changes in kept]


def _point(
    explorer: Explorer,
    selection: Selection,
    costs: Costs,
    changes: Changes,
    measured: Latency | None,
    base: float,
) -> FrontPoint:
    result = explorer.journal.joint[changes]
    layers = {layer.name: layer for layer in selection.layers}
    changed = tuple(
        PairChange(
            layer=name,
            before=layers[name].pair if layers[name].converged else None,
            after=pair,
            saved_ms=present_cost(layers[name], costs) - costs.of(name, pair),
        )
        for name, pair in changes
    )
    free = costs.norm_free_ms or base
    spent = sum(present_cost(layer, costs) for layer in selection.layers)
    return FrontPoint(
        changes=changed,
        harm=result.harm,
        error=result.error,
        drop=result.drop,
        accuracy=result.accuracy,
        predicted_ratio=1 + (spent - sum(change.saved_ms for change in changed)) / free,
        ratio=None if measured is None else measured.median / base,
        lower=None if measured is None else measured.lower / base,
        upper=None if measured is None else measured.upper / base,
        difference=result.difference,
    )


@dataclass(frozen=True)
class Distilled:
    """A point after distillation.

    Attributes:
        index: Index of the point in the front.
        point: The point after distillation.
        network: Its network, with the trained weights.
    """

    index: int
    point: FrontPoint
    network: nn.Module


def distilled_point(
    explorer: Explorer,
    running: nn.Module,
    model: nn.Module,
    measured: MeasuredPoints,
    chosen: int,
    training: Batches,
) -> Distilled | None:
    """Distil points that are faster than the chosen one, or with a budget the chosen one.

    What distillation recovers is known only afterwards. A faster point loses more, so bisection
    finds the fastest one that ends within the bound.

    Args:
        explorer: The explorer that measured the candidates and their repairs.
        running: The original on its device, which gives the targets.
        model: The original; not changed.
        measured: The front.
        chosen: Index of the point that would be delivered without distillation.
        training: Images to distil with.

    Returns:
        The distilled point; None if no point becomes better than the chosen one.
    """
    options, points = explorer.options, measured.points
    allowed = options.allowed_drop
    indices = _to_distil(points, chosen, options.budget, allowed)
    best: Distilled | None = None
    low, high = 0, len(indices)
    while low < high:
        middle = (low + high) // 2
        tried = _distilled(explorer, running, model, measured, indices[middle], training)
        good = tried.point.drop <= (points[chosen].drop if allowed is None else allowed)
        if tried.index == chosen:
            good = good and tried.point.harm < points[chosen].harm
        if good:
            best, high = tried, middle
        else:
            low = middle + 1
    return best


def _distilled(
    explorer: Explorer,
    running: nn.Module,
    model: nn.Module,
    measured: MeasuredPoints,
    index: int,
    training: Batches,
) -> Distilled:
    changes, options = measured.changes[index], explorer.options
    network = explorer.network(model, changes).to(training.device)
    steps = options.finetune_steps
    left = TimeLeft(explorer.progress, f"distilling {len(changes)} changes", steps)
    distil(running, network, training, steps, options.seed, left)
    original, outcome = compare(running, copy_model(network), explorer.search, lambda: None)
    result = joint_result(outcome, original)
    point = replace(
        measured.points[index],
        harm=result.harm,
        error=result.error,
        drop=result.drop,
        accuracy=result.accuracy,
        difference=result.difference,
    )
    return Distilled(index, point, network)


def _to_distil(
    points: Sequence[FrontPoint], chosen: int, budget: float | None, allowed: float | None
) -> list[int]:
    """Indices of the points to distil, the fastest first, each losing less than the one before."""
    if budget is not None or allowed is None:
        return [chosen]
    found: list[int] = []
    least = max(_WORTH_DISTILLING, allowed)
    for index in sorted(range(len(points)), key=lambda index: latency(points[index])):
        if latency(points[index]) >= latency(points[chosen]):
            break
        if points[index].drop <= least:
            found.append(index)
            least = points[index].drop
    return found
