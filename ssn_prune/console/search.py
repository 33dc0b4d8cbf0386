"""The result of a search: the front, what changed, and the final test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.output import Output
from ssn_prune.console.text import escape

if TYPE_CHECKING:
    from ssn_prune.accuracy.results import Accuracy
    from ssn_prune.costs.records import Costs
    from ssn_prune.searching.results import FrontPoint, SearchReport, Tested
    from ssn_prune.selection import Selection

_CHANGES = 12


def show_search(out: Output, report: SearchReport, *, every: bool) -> None:
    """Print what a search found.

    Args:
        out: Where to.
        report: What was found.
        every: Whether to list all changes.
    """
    if not out.shows_text:
        return
    out.table(_front(report))
    chosen = report.finetuned or report.front[report.chosen]
    count = len(chosen.changes)
    out.message(f"[bold]{count} of {report.layers} layers changed[/]{_saved(report)}")
    shown = chosen.changes if every else chosen.changes[:_CHANGES]
    for change in shown:
        before = "soft gates" if change.before is None else str(change.before)
        out.message(
            f"  {escape(change.layer)}: {before} to {change.after}, {change.saved_ms:.3f} ms less"
        )
    if len(shown) < count:
        out.message(f"  and {count - len(shown)} more (--all shows them)")
    out.message(f"[bold]{_test(report.test, report.images.test)}[/]")


def show_potential(out: Output, selection: Selection, costs: Costs) -> None:
    """Print what each layer costs as it is, and the cheapest that it could be."""
    # Here, because only this command needs it.
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


def _front(report: SearchReport) -> Table:
    options = report.options
    table = Table(title=f"The front, {options.threads} thread(s), batch {options.batch}")
    table.add_column("", no_wrap=True)
    for name in ("changed", "latency", "harm", _measure(report.front[0].accuracy), "drop"):
        table.add_column(name, justify="right", no_wrap=True)
    for index, point in enumerate(report.front):
        mark = "chosen" if index == report.chosen and report.finetuned is None else ""
        mark = mark or ("original" if not point.changes else "")
        table.add_row(mark, *_cells(point))
    if report.finetuned is not None:
        table.add_row("distilled, chosen", *_cells(report.finetuned))
    if report.all_bn is not None:
        table.add_row("all BN", *_cells(report.all_bn))
    return table


def _cells(point: FrontPoint) -> tuple[str, ...]:
    latency = point.predicted_ratio if point.ratio is None else point.ratio
    return (
        str(len(point.changes)),
        f"{latency:.3f}",
        f"{point.harm:.1e}",
        _percent(point.accuracy),
        f"{point.drop:.2f}",
    )


def _measure(accuracy: Accuracy) -> str:
    return "mIoU" if accuracy.miou is not None else "top-1"


def _percent(accuracy: Accuracy) -> str:
    value = accuracy.miou if accuracy.top1 is None else accuracy.top1
    return "" if value is None else f"{value:.1%}"


def _saved(report: SearchReport) -> str:
    if report.saved is None:
        return ""
    return f"; {max(0.0, report.saved):.0%} of what normalization cost is gone"


def _test(test: Tested, images: int) -> str:
    if test.difference is None:
        return f"on {images} other images the outputs change by {test.harm:.2%}"
    before, after = _percent(test.original), _percent(test.chosen)
    found = test.difference
    lower, upper = 100 * found.lower, 100 * found.upper
    return (
        f"on {images} other images: {_measure(test.original)} {before} to {after}, "
        f"{100 * found.mean:+.1f} points ({found.confidence:.0%} interval {lower:+.1f} to "
        f"{upper:+.1f})"
    )
