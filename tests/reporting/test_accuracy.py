"""What was found on images, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_runs import accuracy, run

from ssn_prune.accuracy.results import Accuracy, PairedDifference
from ssn_prune.errors import ReportError
from ssn_prune.images.image_set import TargetKind
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.reporting.formats.json import json
from ssn_prune.reporting.run import run_of
from ssn_prune.reporting.view.accuracy import accuracy_view

MANY = accuracy()
SAME = replace(accuracy(0), file=MANY.original, difference=PairedDifference(0.0, -0.01, 0.01, 0.95))
MAPS = replace(
    accuracy(3, TargetKind.MAPS),
    original=Accuracy(miou=0.612),
    file=Accuracy(miou=0.58),
    difference=PairedDifference(-0.032, -0.04, -0.02, 0.95),
    agreement=0.983,
    without_class=0.0312,
)
UNLABELLED = accuracy(2, TargetKind.NONE)
NUMBERS = replace(accuracy(0, TargetKind.NONE), agreement=None, largest_difference=8.5e-6)


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        (
            MANY,
            "The file gets 86.0 % of the images right, the original 87.0 %: that is within chance",
        ),
        (SAME, "Both get 87.0 % of the images right; the file gives all images the same class"),
        (MAPS, "The file gets 58.0 % mean IoU, the original 61.2 %: that is more than chance"),
        (UNLABELLED, "The file gives 2 images another class"),
        (NUMBERS, "Outputs differ by at most 8.5e-6 on every image"),
        (replace(NUMBERS, differing=1), "The outputs of 1 image clearly differ"),
    ],
)
def test_the_finding_is_one_sentence(found, finding):
    assert accuracy_view(found, None).finding.replace("\u00a0", " ") == finding


def test_notes_say_how_sure_that_is_and_what_was_left_out():
    how = Preprocessing((3, 8, 8), (0.5, 0.4, 0.3), (0.5,) * 3, 9, "bicubic")
    notes = " | ".join(accuracy_view(MAPS, how).notes).replace("\u00a0", " ")
    for text in (
        "\u22123.2 points; the 95 % interval of the paired difference is \u22124.0 to \u22122.0",
        "The file gives 1.7 % of the pixels another class",
        "Outputs differ by 2 % of their mean magnitude on average, and by 40 % at most",
        "3 % of the pixels have a label that is no class",
        "resized to a shorter side of 9 (bicubic) and cropped to the central 8x8",
        "inputs are (x / 255 - [0.5, 0.4, 0.3]) / 0.5 of pixels x",
    ):
        assert text in notes


def test_figures_of_both_stand_beside_each_other():
    view = accuracy_view(MANY, None)
    assert view.what == "300 of 600 images of photos.zip/test"
    assert [label for label, _ in view.rows] == ["top-1 accuracy", "top-5 accuracy"]
    assert view.images[0].what == "is 7, original 7, file 1"


def test_a_document_with_images_is_read_back_and_what_cannot_be_is_refused():
    made = replace(run(), accuracy=MAPS)
    assert run_of(made.document()).accuracy == MAPS
    assert json(made)
    bad = made.document()
    bad["preprocessing"] = {"size": [1, 8, 8], "mean": [0.5], "std": [0.0]}
    with pytest.raises(ReportError, match="preprocessing"):
        run_of(bad)
