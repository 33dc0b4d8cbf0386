"""How the selection was found: what changed, what it wins, what it costs, and how that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ssn_prune.accuracy.results import Accuracy
from ssn_prune.reporting.figures import NBSP, counted, milliseconds, percent, points, share, small
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.choice import Stage, choice_of
from ssn_prune.reporting.view.front import Front, front_of
from ssn_prune.reporting.view.harms import Harms, harms_of
from ssn_prune.reporting.view.layers import Cell, Layer
from ssn_prune.reporting.view.searched import (
    REFUTED,
    changed_layers,
    delivered,
    ends_of,
    gain_of,
    loss_of,
)
from ssn_prune.searching.results import PairChange, SearchReport


@dataclass(frozen=True)
class ChangeRow:
    """A layer that got another pair.

    Attributes:
        layer: Its path.
        before: Names of its mean and variance; None for gates that weighed several.
        after: Names of the new ones.
        saved: What that saves, for people.
        harm: What it does alone; empty if that is not known.
    """

    layer: str
    before: tuple[str, str] | None
    after: tuple[str, str]
    saved: str
    harm: str


@dataclass(frozen=True)
class SearchView:
    """A search.

    Attributes:
        finding: What it comes to.
        front: Latency against loss.
        before: The original's layers by stage; empty if nothing was changed.
        after: Those of the network that was delivered.
        changed: Paths of the layers that differ.
        changes: The same layers, those that save most first.
        harms: Single changes by depth; None if there were none.
        test_finding: What the final test says.
        tested: Label, original and chosen network.
        notes: What else there is to know.
    """

    finding: str
    front: Front
    before: tuple[Stage, ...]
    after: tuple[Stage, ...]
    changed: frozenset[str]
    changes: tuple[ChangeRow, ...]
    harms: Harms | None
    test_finding: str
    tested: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]


def search_of(run: Run, layers: tuple[Layer, ...]) -> SearchView | None:
    """Describe the search of a run; None if there was none."""
    report = run.search
    if report is None:
        return None
    changes = delivered(report).changes
    after = tuple(
        replace(layer, mean=_solid(layer.mean), var=_solid(layer.var)) for layer in layers
    )
    named = {change.layer: change for change in changes}
    before = tuple(_original(layer, named.get(layer.name)) for layer in after)
    return SearchView(
        _finding(report),
        front_of(report),
        choice_of(before).stages if changes else (),
        choice_of(after).stages if changes else (),
        frozenset(named),
        _rows(report, changes),
        harms_of(report),
        _test_finding(report),
        _tested(report),
        tuple(_notes(report)),
    )


def _finding(report: SearchReport) -> str:
    """What was changed, and what that costs on images that the search has not seen."""
    changes = delivered(report).changes
    if not changes:
        return gain_of(report)
    return f"{changed_layers(report)}; on unseen images {loss_of(report)}"


def _test_finding(report: SearchReport) -> str:
    """What the images say that nothing else has seen."""
    found, images = report.test.difference, counted(report.images.test, "image")
    if found is None:
        return f"Final test on {images}: {loss_of(report)}"
    return f"Final test on {images}: {points(found.mean)} points, {ends_of(report)}"


def _solid(cell: Cell) -> Cell:
    """The selection alone: what folds is the business of the network that was converted."""
    return replace(cell, folded=False)


def _original(layer: Layer, change: PairChange | None) -> Layer:
    if change is None:
        return layer
    if change.before is None:
        several = Cell("", False, True, None)
        return replace(layer, mean=several, var=several)
    mean, var = (Cell(n.name, False, False, None) for n in (change.before.mean, change.before.var))
    return replace(layer, mean=mean, var=var)


def _rows(report: SearchReport, changes: tuple[PairChange, ...]) -> tuple[ChangeRow, ...]:
    alone = {(one.layer, one.after): one.harm for one in report.singles}
    return tuple(
        ChangeRow(
            change.layer,
            None if change.before is None else (change.before.mean.name, change.before.var.name),
            (change.after.mean.name, change.after.var.name),
            milliseconds(change.saved_ms),
            small(alone[change.layer, change.after])
            if (change.layer, change.after) in alone
            else "",
        )
        for change in sorted(changes, key=lambda change: -change.saved_ms)
    )


def _tested(report: SearchReport) -> tuple[tuple[str, str, str], ...]:
    test = report.test
    pairs = (
        ("top-1 accuracy", test.original.top1, test.chosen.top1),
        ("top-5 accuracy", test.original.top5, test.chosen.top5),
        ("mean IoU", test.original.miou, test.chosen.miou),
    )
    return tuple(
        (label, percent(one), percent(two))
        for label, one, two in pairs
        if one is not None and two is not None
    )


def _notes(report: SearchReport) -> list[str]:
    images, options = report.images, report.options
    notes = [
        f"Statistics and single harms are of {counted(images.calibration, 'image')}, candidates of "
        f"{images.search:,} others, and the final test of {images.test:,} that were opened once, "
        "at its end; no image served two purposes",
    ]
    notes += [REFUTED] if report.is_refuted else []
    if report.test.same_class is not None:
        what = "pixels" if _is_maps(report.test.original) else "images"
        notes.append(
            f"Both networks give {share(report.test.same_class)} of these {what} the same class"
        )
    if report.has_classes:
        moved = "" if _is_maps(report.test.original) else _MOVED
        notes.append(
            "Harm is the Kullback-Leibler divergence from the original’s probabilities, in nats; "
            "it needs no labels. A loss is what was measured, or what the original’s "
            f"probabilities expect if that is more{moved}"
        )
    else:
        notes.append("Harm is the mean change of the outputs, in units of their mean magnitude")
    threads = counted(options.threads, "thread")
    notes.append(
        f"Latencies are of whole files in one run: {threads}, batch {options.batch}, medians of "
        f"{options.runs} runs taking turns; the network without norms takes "
        f"{milliseconds(report.norm_free_ms)}"
    )
    if report.additive_error is not None and math.isfinite(report.additive_error):
        notes.append(
            f"Latencies predicted from the costs of single layers are off by "
            f"{100 * report.additive_error:.1f}{NBSP}% of that (root mean square)"
        )
    shared = (
        "what they have in common was computed once"
        if report.shared_prefixes
        else "each was computed whole"
    )
    notes.append(
        f"{counted(report.candidates, 'candidate')} and "
        f"{counted(len(report.singles), 'single change')} were measured; {shared}"
    )
    return notes


_MOVED = "; images of the search are shifted and scaled a little, so that they are new"


def _is_maps(accuracy: Accuracy) -> bool:
    return accuracy.miou is not None
