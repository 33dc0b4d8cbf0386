"""Two runs side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report_runs import RESNET18, accuracy, bench, layer, layers, run

from ssn_prune.reporting.formats.table import FORMATS
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.comparison import comparison_of


def changed() -> Run:
    made = list(layers(RESNET18))
    made[4] = layer(made[4].name, "LN/LN", order=4)
    made[6] = replace(made[6], form="BatchNorm2d", fold=None)
    made[9] = layer("added", "IN/IN", order=9)
    return run(layers=tuple(made))


def test_the_same_run_has_no_changes() -> None:
    found = comparison_of(run(), run())
    assert found.changes == ()
    assert found.finding == "Both runs are the same"
    assert not any(row.changed for row in found.rows)


def test_changes_are_those_of_selection_and_form() -> None:
    found = comparison_of(run(), changed())
    names = [change.name for change in found.changes]
    assert names == [RESNET18[4], RESNET18[6], "added", RESNET18[9]]
    assert (found.changes[0].new, found.changes[0].new_form) == ("LN/LN", "MomentNorm2d")
    assert (found.changes[2].old, found.changes[3].new) == ("–", "–")
    assert found.finding == "3 layers selected something else, 1 layer became something else"


def test_figures_that_neither_run_has_are_left_out() -> None:
    labels = {row.label for row in comparison_of(run(), run()).rows}
    assert "latency" not in labels
    found = comparison_of(run(), Run(run(soft=(3,)).report, bench()))
    rows = {row.label: row for row in found.rows}
    assert (rows["latency"].old, rows["latency"].new) == ("–", "36\u00a0ms")
    assert rows["one-hot layers"].changed


@pytest.mark.parametrize("entry", [e for e in FORMATS if e.compare], ids=lambda e: e.suffix)
def test_every_format_that_compares_names_what_changed(entry) -> None:
    text = entry.compare(run(), changed())
    assert text == entry.compare(run(), changed())
    assert "added" in text
    if entry.suffix == ".json":
        assert len(json.loads(text)["changes"]) == 4


def test_accuracy_on_images_is_compared_where_there_is_one() -> None:
    rows = {row.label: row for row in comparison_of(run(), Run(run().report, None)).rows}
    assert "accuracy on images" not in rows
    rows = {
        row.label: row for row in comparison_of(run(), replace(run(), accuracy=accuracy())).rows
    }
    found = rows["accuracy on images"]
    assert (found.old, found.new.replace("\u00a0", " ")) == ("–", "86.0 % of 300 images")
