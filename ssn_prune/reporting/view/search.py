"""How the selection was found: the changes, their gain and loss, and how they were measured."""

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
    predicted_sentence,
)
from ssn_prune.searching.results import PairChange, SearchReport


@dataclass(frozen=True)
class ChangeRow:
    """A layer that got another pair.

    Attributes:
        layer: Its path.
        before: Names of its mean and variance; None for gates that were not one-hot.
        after: Names of the new mean and variance.
        saved: The time that this saves, as text.
        harm: The harm of this change alone, as text; empty if it is not known.
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
        finding: The result in one sentence.
        front: Latency against loss.
        before: The original's layers by stage; empty if nothing was changed.
        after: The layers of the delivered network by stage.
        changed: Paths of the layers that differ.
        changes: The same layers, those that save most first.
        harms: Single changes by depth; None if there were none.
        test_finding: The result of the final test in one sentence.
        tested: Rows of a label and the figures of the original and the chosen network.
        notes: Further remarks.
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
    """The number of changed layers, and the loss on images that the search has not seen."""
    changes = delivered(report).changes
    if not changes:
        return gain_of(report)
    return f"{changed_layers(report)}; on unseen images {loss_of(report)}"


def _test_finding(report: SearchReport) -> str:
    """The result on the images of the final test, which nothing else has seen."""
    found, images = report.test.difference, counted(report.images.test, "image")
    if found is None:
        return f"Final test on {images}: {loss_of(report)}"
    return f"Final test on {images}: {points(found.mean)} points, {ends_of(report)}"


def _solid(cell: Cell) -> Cell:
    """A cell without its fold, which belongs to the converted network, not to the selection."""
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
        f"Statistics and single harms were measured on {counted(images.calibration, 'image')}, "
        f"candidates on {images.search:,} others. The final test used another {images.test:,}, "
        "which no network saw before the end. No image served two purposes",
    ]
    notes += [REFUTED] if report.is_refuted else []
    if report.test.same_class is not None:
        what = "pixels" if _is_maps(report.test.original) else "images"
        notes.append(
            f"Both networks give {share(report.test.same_class)} of these {what} the same class"
        )
    if report.has_classes:
        notes.append(
            "Harm is the Kullback-Leibler divergence from the original’s probabilities, in nats; "
            "it needs no labels. A loss is the measured one, or the one expected by the original’s "
            "probabilities if that is larger"
        )
        notes += [] if report.test.others is None else [_OTHERS]
    else:
        notes.append("Harm is the mean change of the outputs, relative to their mean magnitude")
    notes += [_MOVED] if report.moved_images else []
    threads = counted(options.threads, "thread")
    if report.predicted_for is not None:
        notes.append(predicted_sentence(report.predicted_for))
    else:
        notes.append(
            f"Latencies were measured on whole files in one run: {threads}, batch {options.batch}, "
            f"medians of {options.runs} interleaved runs; the network without norms takes "
            f"{milliseconds(report.norm_free_ms)}"
        )
    if report.additive_error is not None and math.isfinite(report.additive_error):
        notes.append(
            f"Latencies predicted from the costs of single layers are off by "
            f"{100 * report.additive_error:.1f}{NBSP}% of that (root mean square)"
        )
    shared = (
        "what they have in common was computed only once"
        if report.shared_prefixes
        else "each was run from the start"
    )
    notes.append(
        f"{counted(report.candidates, 'candidate')} and "
        f"{counted(len(report.singles), 'single change')} were measured; {shared}"
    )
    return notes


_OTHERS = (
    "The network has outputs other than the classes. Their mean change, relative to their mean "
    "magnitude, counts as a loss in percent if it is larger, and its square is added to the harm"
)
_MOVED = "Search images are shifted and scaled slightly, so that they are new to the networks"


def _is_maps(accuracy: Accuracy) -> bool:
    return accuracy.miou is not None
