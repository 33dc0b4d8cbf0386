"""What several checkpoints selected, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.selection import MANY, pair_of
from ssn_prune.console.text import escape, path_in_lines

if TYPE_CHECKING:
    from ssn_prune.reporting.view.layers import Layer

_MISSING = "[dim]-[/]"
_LONGEST = 16


def selections_table(
    checkpoints: Mapping[str, Sequence[Layer]], width: int, *, every: bool = False
) -> Table:
    """A column a checkpoint; layers that differ are marked.

    Args:
        checkpoints: Layers of each, by what is shown of its name.
        width: Columns of the terminal.
        every: Show all layers, however many there are; else of many only those that differ.
    """
    columns = [{layer.name: layer for layer in layers} for layers in checkpoints.values()]
    names = layer_names(checkpoints)
    differ = set(differing(checkpoints))
    table = Table(title="mean/variance; * differs", title_justify="left")
    table.add_column("layer", no_wrap=True)
    room = max(_LONGEST, width // 2)
    for title in checkpoints:
        table.add_column(path_in_lines(title, _LONGEST), no_wrap=True)
    for name in names:
        if name not in differ and len(names) > MANY and not every:
            continue
        pairs = [pair_of(column[name]) if name in column else _MISSING for column in columns]
        mark = " [bold yellow]*[/]" if name in differ else ""
        table.add_row(f"{path_in_lines(name, room)}{mark}", *pairs)
    return table


def layer_names(checkpoints: Mapping[str, Sequence[Layer]]) -> list[str]:
    """The layers of all checkpoints, in the order of the first that has them."""
    names = (layer.name for layers in checkpoints.values() for layer in layers)
    return list(dict.fromkeys(names))


def differing(checkpoints: Mapping[str, Sequence[Layer]]) -> list[str]:
    """The layers that did not select the same pair in all checkpoints, or that one lacks."""
    pairs = [{layer.name: layer.pair for layer in layers} for layers in checkpoints.values()]
    return [
        name for name in layer_names(checkpoints) if len({found.get(name) for found in pairs}) > 1
    ]


def selections_line(checkpoints: Mapping[str, Sequence[Layer]]) -> str:
    """How many layers differ."""
    count, total = len(differing(checkpoints)), len(layer_names(checkpoints))
    files = escape(", ".join(checkpoints))
    if not count:
        return f"all {total} layers selected the same in {files}"
    return f"{count} of {total} layers differ between {files}"
