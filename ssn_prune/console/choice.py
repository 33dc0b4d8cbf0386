"""The selection of a network: its strip, its layers, and what the names mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssn_prune.console.output import Output
from ssn_prune.console.selection import MANY, legend_line, selection_table, summary_table
from ssn_prune.console.strip import strip_lines
from ssn_prune.console.text import escape

if TYPE_CHECKING:
    from ssn_prune.report import ConversionReport


def show_selection(
    out: Output, report: ConversionReport, title: str, *, every: bool = False
) -> None:
    """Print the selection of a network.

    Args:
        out: Where to print.
        report: The report of its conversion or inspection.
        title: The heading.
        every: Show each layer in a row of its own, however many there are.
    """
    if not out.shows_text:
        return
    # Imported here, because only text output needs them.
    from ssn_prune.reporting.view.choice import choice_of
    from ssn_prune.reporting.view.layers import layers_of_report
    from ssn_prune.reporting.view.legend import legend

    layers = layers_of_report(report)
    out.message(f"[bold]{escape(title)}[/]")
    for line in strip_lines(choice_of(layers), out.width, styled=out.styled):
        out.message(line)
    if len(layers) > MANY and not every:
        out.table(summary_table(layers))
        out.message(f"[dim]{len(layers)} layers; --all shows each[/]")
    else:
        out.table(selection_table(layers, out.width))
    if meanings := legend(layer.form for layer in layers):
        out.message(legend_line(meanings))
