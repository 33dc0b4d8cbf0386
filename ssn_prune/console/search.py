"""The result of a search: the Pareto front, the changed layers, and the final test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.normalizers import painted
from ssn_prune.console.output import Output
from ssn_prune.console.text import escape, path_in_lines, plain
from ssn_prune.reporting.figures import counted, percent, small
from ssn_prune.reporting.view.searched import (
    REFUTED,
    changed_layers,
    delivered,
    ends_of,
    gain_of,
    loss_interval,
    loss_of,
    predicted_sentence,
)
from ssn_prune.searching.choosing import latency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssn_prune.accuracy.results import Accuracy
    from ssn_prune.costs.records import Costs
    from ssn_prune.normalizer import NormalizerPair
    from ssn_prune.searching.results import FrontPoint, PairChange, SearchReport
    from ssn_prune.selection import Selection

_CHANGES = 12
_WIDE = 76
"""Terminal columns that the front needs with quartiles."""
_WIDEST = 92
"""Terminal columns that it needs with quartiles and the intervals of the losses."""
_BESIDE_NAMES = 36
_LOST = {True: "points lost", False: "% changed"}
"""The unit of a loss, by whether there are classes."""


def show_search(out: Output, report: SearchReport, *, every: bool) -> None:
    """Print the result of a search.

    Args:
        out: Where to print.
        report: The report of the search.
        every: Whether to list all changes.
    """
    if not out.shows_text:
        return
    out.table(_front(report, out.width))
    if report.predicted_for is not None:
        out.message(escape(predicted_sentence(report.predicted_for)) + ".")
    changes = sorted(delivered(report).changes, key=lambda change: -change.saved_ms)
    if not changes:
        out.message(f"[bold]{escape(gain_of(report))}[/]")
        return
    out.message(f"[bold]{_words(changed_layers(report))}; {_words(gain_of(report), lower=True)}[/]")
    shown = changes if every else changes[:_CHANGES]
    out.table(_changes(shown, out.width))
    if len(shown) < len(changes):
        out.message(f"and {len(changes) - len(shown)} more (--all shows them)")
    for line in _test(report):
        out.message(line)


def show_potential(out: Output, selection: Selection, costs: Costs) -> None:
    """Print what each layer costs now, and what its cheapest pair could save."""
    # Imported here, because only this command needs it.
    from ssn_prune.searching.candidates import cheaper, present_cost

    free = costs.norm_free_ms
    alternatives = cheaper(selection, costs)
    table = Table(title="What normalization costs now, and what could be saved")
    table.add_column("layer", no_wrap=True)
    table.add_column("now", no_wrap=True)
    for name in ("costs", "cheaper pairs", "saves up to"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in selection.layers:
        own = [one for one in alternatives if one.layer == layer.name]
        saves = max((one.saved for one in own), default=0.0)
        now = str(layer.pair) if layer.converged else "soft gates"
        cost = present_cost(layer, costs)
        cells = (f"{cost:.3f} ms", str(len(own)), f"{saves:.3f} ms")
        table.add_row(escape(layer.name), now, *cells)
    out.table(table)
    spent = sum(present_cost(layer, costs) for layer in selection.layers)
    if free:
        out.message(
            f"[bold]normalization costs {spent / free:.1%}[/] of the {free:.2f} ms without norms; "
            f"nothing was searched"
        )


def _front(report: SearchReport, width: int) -> Table:
    """The front and the other networks; those that lose more than allowed are dim."""
    options, wide = report.options, width >= _WIDE
    how = f"{counted(options.threads, 'thread')}, batch {options.batch}"
    if report.predicted_for is not None:
        how = "predicted"
    title = f"Pareto front, latency without norms = 1 ({how})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    timed = report.predicted_for is None
    names = ("changed", "latency", *(("quartiles",) if wide and timed else ()), "harm")
    lost = _LOST[report.has_classes]
    for name in (*names, *_measure(report), lost if wide else lost.replace(" ", "\n")):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [(_mark(report, index), point) for index, point in enumerate(report.front)]
    rows += [] if report.finetuned is None else [("distilled", report.finetuned)]
    rows += [] if report.all_bn is None else [("all BN", report.all_bn)]
    widest = width >= _WIDEST
    if widest:
        table.add_column("95 % interval", justify="right", no_wrap=True)
    for mark, point in rows:
        cells = [str(len(point.changes)), f"{latency(point):.3f}"]
        cells += [_quartiles(point)] if wide and timed else []
        cells += [small(point.harm)] + [_percent(point.accuracy)] * len(_measure(report))
        beyond = options.allowed_drop is not None and point.drop > options.allowed_drop
        style = "bold" if mark in ("chosen", "distilled") else "dim" if beyond else ""
        cells += [f"{point.drop:.2f}"] + [_interval(report, point)] * widest
        table.add_row(mark, *cells, style=style)
    return table


def _mark(report: SearchReport, index: int) -> str:
    if index == report.chosen and report.finetuned is None:
        return "chosen"
    return "" if report.front[index].changes else "original"


def _quartiles(point: FrontPoint) -> str:
    if point.lower is None or point.upper is None:
        return "predicted"
    return f"{point.lower:.3f} to {point.upper:.3f}"


def _interval(report: SearchReport, point: FrontPoint) -> str:
    ends = loss_interval(report, point)
    return f"{ends[0]:.1f} to {ends[1]:.1f}" if ends and point.changes else ""


def _changes(changes: Sequence[PairChange], width: int) -> Table:
    """The changed layers, those that save most first."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(no_wrap=True)
    for change in changes:
        before = "soft gates" if change.before is None else _pair(change.before)
        name = path_in_lines(change.layer, max(8, width - _BESIDE_NAMES))
        saved = f"{change.saved_ms:.3f} ms less"
        table.add_row(name, f"{before} to {_pair(change.after)}", saved)
    return table


def _pair(pair: NormalizerPair) -> str:
    return f"{painted(pair.mean.name)}/{painted(pair.var.name)}"


def _measure(report: SearchReport) -> tuple[str, ...]:
    """The name of the accuracy in the table; empty without labels."""
    accuracy = report.front[0].accuracy
    if accuracy.miou is not None:
        return ("mIoU",)
    return () if accuracy.top1 is None else ("top-1",)


def _percent(accuracy: Accuracy) -> str:
    value = accuracy.miou if accuracy.top1 is None else accuracy.top1
    return "" if value is None else percent(value)


def _test(report: SearchReport) -> list[str]:
    """The result on the images of the final test, which nothing else has seen."""
    images = counted(report.images.test, "unseen image")
    lines = [f"[bold]on {_words(images)} {_words(loss_of(report))}[/]"]
    if report.test.difference is not None:
        before, after = _percent(report.test.original), _percent(report.test.chosen)
        measure = "".join(_measure(report)) or "accuracy"
        lines.append(_words(f"  {measure} {before} to {after}, {ends_of(report)}"))
    if report.is_refuted:
        lines.append(f"[bold red]{_words(REFUTED)}[/]")
    return lines


def _words(text: str, *, lower: bool = False) -> str:
    """Text of a page for a terminal."""
    shown = escape(plain(text))
    return shown[:1].lower() + shown[1:] if lower else shown
