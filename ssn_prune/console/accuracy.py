"""The original and the file on images: their accuracies, and the images that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.output import Output
from ssn_prune.console.text import escape, plain

if TYPE_CHECKING:
    from ssn_prune.accuracy.results import AccuracyReport
    from ssn_prune.images.preprocessing import Preprocessing

_SHOWN = 20


def show_accuracy(out: Output, found: AccuracyReport, how: Preprocessing | None) -> None:
    """Print how both networks do on images.

    Args:
        out: Where to print.
        found: The result.
        how: The preprocessing of the images; None if they came as inputs.
    """
    if not out.shows_text:
        return
    # Imported here, because only text output needs it.
    from ssn_prune.reporting.view.accuracy import accuracy_view

    view = accuracy_view(found, how)
    out.message(f"[bold]on images[/] {escape(plain(view.what))}")
    table = Table()
    table.add_column("")
    for name in view.columns:
        table.add_column(name, justify="right", no_wrap=True)
    for label, values in view.rows:
        table.add_row(label, *map(plain, values))
    if view.rows:
        out.table(table)
    out.message(f"[bold]{escape(plain(view.finding))}[/]")
    for note in view.notes:
        out.message(escape(plain(note)))
    for image in view.images[:_SHOWN]:
        out.message(escape(plain(f"  {image.name}: {image.what}")))
    if found.differing > _SHOWN:
        out.message(f"  and {found.differing - _SHOWN} more (--json lists {len(found.listed)})")
