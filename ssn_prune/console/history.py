"""The gates over the course of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.normalizers import painted
from ssn_prune.console.text import path_in_lines

if TYPE_CHECKING:
    from ssn_prune.training.gate_traces import GateTrace

_NAMES = {"I": "IN", "L": "LN", "B": "BN"}
_GATES = {"mean": "mean", "var": "variance"}
_NUMBERS = ("since", "changes")
_NARROWEST = 8
_OTHER_COLUMNS = len("variance") + len("since") + 2 + len("changes") + 16


def history_table(traces: tuple[GateTrace, ...], width: int) -> Table:
    """Every gate over the course of the training, from left to right.

    Args:
        traces: The traces of all gates.
        width: Columns of the terminal; long traces are thinned out to fit.
    """
    table = Table(
        title="Gate history: i IN, l LN, b BN leads; capitals: one-hot (since which step)",
        title_justify="left",
    )
    # The gate and number columns get the width they need, layer names up to half of the rest.
    rest = width - _OTHER_COLUMNS
    names = max((len(trace.layer) for trace in traces), default=0)
    room = min(names, max(_NARROWEST, rest // 2))
    shown = max(_NARROWEST, rest - room)
    for name in ("layer", "gate", "history", "since", "changes"):
        table.add_column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
    for trace in traces:
        line = thinned(trace.line, shown)
        painted_line = "".join(painted(_NAMES[letter.upper()], letter) for letter in line)
        since = "-" if trace.one_hot_since is None else str(trace.one_hot_since)
        name = path_in_lines(trace.layer, room)
        table.add_row(name, _GATES[trace.gate], painted_line, since, str(trace.changes))
    return table


def thinned(line: str, most: int) -> str:
    """At most ``most`` letters of a line, evenly spaced from the first to the last."""
    if len(line) <= most:
        return line
    return "".join(line[index * (len(line) - 1) // (most - 1)] for index in range(most))
