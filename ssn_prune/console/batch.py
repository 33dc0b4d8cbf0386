"""Several conversions: a line as each ends, and a table of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.text import escape
from ssn_prune.reporting.figures import counted

if TYPE_CHECKING:
    from ssn_prune.batch.summary import Row


def result_line(row: Row) -> str:
    """The result of a checkpoint that was converted."""
    nodes = "" if row.nodes is None else f", {row.nodes} nodes"
    layers = counted(row.layers or 0, "layer")
    return f"[green]done[/] {escape(row.name)}: {layers}{nodes}, {row.seconds:.0f} s"


def batch_table(rows: Sequence[Row], width: int) -> Table:
    """One row per checkpoint.

    Args:
        rows: The rows in the order of the checkpoints.
        width: Columns of the terminal; a narrow one omits pairs and problems.
    """
    wide, narrow = width >= 100, width < 80
    table = Table()
    table.add_column("checkpoint", overflow="fold", min_width=len("checkpoint"))
    table.add_column("exit", justify="right", no_wrap=True)
    for name in ("layers", "nodes"):
        table.add_column(name, justify="right", no_wrap=True)
    if not narrow:  # failures were reported when they happened
        table.add_column("error / bound", justify="right", no_wrap=True)
        table.add_column("pairs, or the problem" if wide else "problem", overflow="fold")
    for row in rows:
        colour = "red" if row.exit_code else "green"
        checked = "" if row.max_error is None else f"{row.max_error:.1e} / {row.bound:.1e}"
        last = escape(row.problem) if row.problem else row.pairs if wide and row.pairs else ""
        table.add_row(
            escape(row.name),
            f"[{colour}]{row.exit_code}[/]",
            "" if row.layers is None else str(row.layers),
            "" if row.nodes is None else str(row.nodes),
            *(() if narrow else (checked, last)),
        )
    return table


def batch_line(rows: Sequence[Row], *, planned: bool = False) -> str:
    """How many checkpoints were converted, or can be."""
    failed = sum(row.exit_code != 0 for row in rows)
    if failed:
        return f"[bold red]{failed} of {counted(len(rows), 'checkpoint')} failed[/]"
    many = f"all {len(rows)} checkpoints" if len(rows) > 1 else "the checkpoint"
    if planned:
        return f"[bold]{many} can be converted; nothing was written[/]"
    return f"[bold]{many} {'were' if len(rows) > 1 else 'was'} converted[/]"
