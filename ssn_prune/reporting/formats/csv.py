"""CSV with one row per layer, for spreadsheets."""

from __future__ import annotations

import csv as rows
import io
from collections.abc import Iterable, Sequence

from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.comparison import comparison_of
from ssn_prune.reporting.view.layers import layers_of
from ssn_prune.reporting.view.searched import before_of
from ssn_prune.text import spreadsheet_cell


def csv(run: Run) -> str:
    """The layers of a run in the order of the calls, as RFC 4180 defines CSV."""
    head = ("number", "layer", "stage", "mean", "variance", "one_hot", "channels")
    before, searched = before_of(run), run.search is not None
    return _written(
        [
            *(*head, "positions", "form", "fate", "milliseconds", "error", "bound"),
            *(("before_search",) if searched else ()),
        ],
        (
            [
                *(layer.number, layer.name, layer.stage),
                *(layer.mean.normalizer, layer.var.normalizer, not layer.unfinished),
                *(layer.channels, layer.positions, layer.form, layer.fate, layer.milliseconds),
                *((layer.error.error, layer.error.bound) if layer.error else (None, None)),
                *((before.get(layer.name, layer.pair),) if searched else ()),
            ]
            for layer in layers_of(run)
        ),
    )


def compared_csv(old: Run, new: Run) -> str:
    """The layers that differ between two runs."""
    return _written(
        ["layer", "old", "new", "old_form", "new_form"],
        ([c.name, c.old, c.new, c.old_form, c.new_form] for c in comparison_of(old, new).changes),
    )


def _written(head: Sequence[str], table: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = rows.writer(text)
    writer.writerow(head)
    writer.writerows([spreadsheet_cell(cell) for cell in row] for row in table)
    return text.getvalue()
