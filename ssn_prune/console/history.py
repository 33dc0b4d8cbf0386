"""Gates over the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.text import escape

if TYPE_CHECKING:
    from ssn_prune.training.gate_traces import GateTrace


def history_table(traces: tuple[GateTrace, ...]) -> Table:
    """Every gate over the training, from left to right."""
    table = Table(
        title="Gate history: i IN, l LN, b BN leads; capitals: one-hot", title_justify="left"
    )
    for name in ("layer", "gate", "over the training", "one-hot since", "changes"):
        table.add_column(name, no_wrap=True)
    colours = {"i": "cyan", "l": "magenta", "b": "green"}
    for trace in traces:
        painted = "".join(f"[{colours[letter.lower()]}]{letter}[/]" for letter in trace.line)
        since = "-" if trace.one_hot_since is None else str(trace.one_hot_since)
        table.add_row(escape(trace.layer), trace.gate, painted, since, str(trace.changes))
    return table
