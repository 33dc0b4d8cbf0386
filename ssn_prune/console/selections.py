"""What several checkpoints selected, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.selection import MANY, pair_of
from ssn_prune.console.text import escape, path_in_lines
from ssn_prune.reporting.figures import counted

if TYPE_CHECKING:
    from ssn_prune.reporting.view.layers import Layer

_MISSING = "[dim]-[/]"
_NARROWEST = 12
_COLUMN, _PADDING = len("IN/IN"), 3
_BORDERS = 6
"""Columns for the borders and the mark."""


def selections_tables(
    checkpoints: Mapping[str, Sequence[Layer]], width: int, *, every: bool = False
) -> Iterator[Table]:
    """One column per checkpoint, in as many tables as needed; layers that differ are marked.

    Args:
        checkpoints: The layers of each checkpoint, by the name to show.
        width: Columns of the terminal.
        every: Show all layers, however many; otherwise, of many layers only those that differ.
    """
    names = layer_names(checkpoints)
    differ = set(differing(checkpoints))
    shown = [name for name in names if name in differ or len(names) <= MANY or every]
    room = min(max((len(name) for name in shown), default=0), max(_NARROWEST, width // 2))
    titles = list(checkpoints)
    beside = max(1, (width - room - _BORDERS) // (_COLUMN + _PADDING))
    for start in range(0, len(titles), beside):
        block = titles[start : start + beside]
        columns = [{layer.name: layer for layer in checkpoints[title]} for title in block]
        named = "; ".join(f"{titles.index(title) + 1}: {escape(title)}" for title in block)
        table = Table(title=f"{named}; * differs", title_justify="left")
        table.add_column("layer", no_wrap=True)
        for title in block:
            table.add_column(str(titles.index(title) + 1), no_wrap=True, min_width=_COLUMN)
        for name in shown:
            pairs = [pair_of(column[name]) if name in column else _MISSING for column in columns]
            mark = " [bold yellow]*[/]" if name in differ else ""
            table.add_row(f"{path_in_lines(name, room)}{mark}", *pairs)
        yield table


def layer_names(checkpoints: Mapping[str, Sequence[Layer]]) -> list[str]:
    """The layers of all checkpoints, in the order of the first that has them."""
    names = (layer.name for layers in checkpoints.values() for layer in layers)
    return list(dict.fromkeys(names))


def differing(checkpoints: Mapping[str, Sequence[Layer]]) -> list[str]:
    """The layers that selected different pairs, or that a checkpoint lacks."""
    pairs = [{layer.name: layer.pair for layer in layers} for layers in checkpoints.values()]
    return [
        name for name in layer_names(checkpoints) if len({found.get(name) for found in pairs}) > 1
    ]


def selections_line(checkpoints: Mapping[str, Sequence[Layer]]) -> str:
    """How many layers differ, and what lower case means if it occurs."""
    soft = any(layer.unfinished for layers in checkpoints.values() for layer in layers)
    legend = "\n[dim]lower case: not one-hot, named by the largest ratio[/]" if soft else ""
    return _differing_line(checkpoints) + legend


def _differing_line(checkpoints: Mapping[str, Sequence[Layer]]) -> str:
    count, total = len(differing(checkpoints)), len(layer_names(checkpoints))
    files = escape(", ".join(checkpoints))
    if not count:
        return f"all {counted(total, 'layer')} selected the same pair in {files}"
    return f"{count} of {counted(total, 'layer')} differ between {files}"
