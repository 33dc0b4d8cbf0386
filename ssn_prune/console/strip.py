"""The strip: one letter for the mean of each layer above one for its variance, in call order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ssn_prune.console.normalizers import painted
from ssn_prune.console.text import escape

if TYPE_CHECKING:
    from ssn_prune.reporting.view.choice import Choice, Stage
    from ssn_prune.reporting.view.layers import Cell

_LABELS = ("mean", "variance")
_MARGIN = len("variance") + 2
_GAP = 3


def strip_lines(choice: Choice, width: int, *, styled: bool) -> list[str]:
    """The strip with its legend, in lines that fit.

    Args:
        choice: The selection.
        width: Columns of the terminal.
        styled: Whether the terminal shows styles; only these mark what is folded.
    """
    lines: list[str] = []
    for row in _rows(choice.stages, width - _MARGIN):
        if any(label for label, _ in row):
            titles = "".join(_fitted(label, len(cells) + _GAP) for label, cells in row)
            lines.append(f"{' ' * _MARGIN}{titles.rstrip()}")
        for label, which in zip(_LABELS, (0, 1), strict=True):
            cells = ["".join(_painted(pair[which]) for pair in stage) for _, stage in row]
            lines.append(f"[dim]{label:<{_MARGIN}}[/]" + (" " * _GAP).join(cells))
    return [*lines, _legend(choice, styled)]


_Cells = Sequence[tuple["Cell", "Cell"]]


def _rows(stages: Sequence[Stage], width: int) -> Iterator[list[tuple[str, _Cells]]]:
    """Split stages into rows that fit the width; a stage that is too long is divided."""
    row: list[tuple[str, _Cells]] = []
    used = 0
    for stage in stages:
        cells = [(layer.mean, layer.var) for layer in stage.layers]
        for start in range(0, len(cells), max(1, width)):
            part = cells[start : start + width]
            if row and used + len(part) > width:
                yield row
                row, used = [], 0
            row.append((stage.label if start == 0 else "", part))
            used += len(part) + _GAP
    if row:
        yield row


def _fitted(label: str, width: int) -> str:
    """A label as wide as its cells and the gap after them; cut if it is too long."""
    most = width - 1
    text = label if len(label) <= most else f"{label[: most - 1]}…" if most > 2 else ""
    return escape(text) + " " * (width - len(text))


def _painted(cell: Cell) -> str:
    if cell.unfinished:
        return painted(cell.normalizer, cell.letter.lower(), "underline")
    return painted(cell.normalizer, cell.letter, "dim" if cell.folded else "reverse")


def _legend(choice: Choice, styled: bool) -> str:
    parts = [
        painted(name, text)
        for name, text in (("IN", "I instance"), ("LN", "L layer"), ("BN", "B batch"))
    ]
    if choice.folded and styled:
        parts.append("[dim]not reversed: folded away[/]")
    if choice.unfinished:
        parts.append("small: not one-hot")
    return "; ".join(parts)
