"""The verdict of a saved report, and the differences between two reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.text import escape, plain

if TYPE_CHECKING:
    from ssn_prune.reporting.view.comparison import Comparison
    from ssn_prune.reporting.view.verdict import Verdict

_COLOURS = {"same": "green", "changed": "yellow", "failed": "red", "unverified": "bold"}


def verdict_lines(verdict: Verdict) -> list[str]:
    """The verdict and its numbers."""
    colour = _COLOURS[verdict.status]
    lead = f"[{colour}]{_plain(verdict.lead)}[/]{_plain(verdict.sentence)}"
    lines = [lead, _plain(verdict.detail)]
    lines += [
        f"  {_plain(f.value)} {_plain(f.label)} [dim]({_plain(f.note)})[/]" for f in verdict.figures
    ]
    return lines


def _plain(text: str) -> str:
    """Text of the page for a terminal, escaped and with ordinary blanks."""
    return escape(plain(text))


def comparison_table(found: Comparison) -> Table:
    """The figures of both runs; changed ones are bold."""
    table = Table(title=escape(found.title), title_justify="left")
    for name in ("", "old", "new"):
        table.add_column(name)
    for row in found.rows:
        new = f"[bold]{_plain(row.new)}[/]" if row.changed else _plain(row.new)
        table.add_row(escape(row.label), _plain(row.old), new)
    return table


def comparison_lines(found: Comparison) -> list[str]:
    """The changes, layer by layer."""
    lines = [f"[bold]{escape(found.finding)}[/]"]
    for change in found.changes:
        became = f" ({change.old_form} -> {change.new_form})"
        forms = became if change.old_form != change.new_form else ""
        lines.append(escape(f"  {change.name}: {change.old} -> {change.new}{forms}"))
    return lines
