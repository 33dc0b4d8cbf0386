"""What a terminal says of a search, at any width."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_runs import HOSTILE, RESNET18
from rich.console import Console
from search_samples import searched

from ssn_prune.accuracy.results import PairedDifference
from ssn_prune.console.output import Output
from ssn_prune.console.search import show_search
from ssn_prune.searching.results import SearchReport

REPORT = searched(RESNET18)


def printed(report: SearchReport, width: int, *, every: bool = False, colour: bool = False) -> str:
    out = Output()
    system = "256" if colour else None
    out.out = Console(
        width=width, highlight=False, emoji=False, force_terminal=colour, color_system=system
    )
    with out.out.capture() as capture:
        show_search(out, report, every=every)
    return capture.get()


@pytest.mark.parametrize("width", [160, 80, 60])
def test_a_search_says_its_point_at_any_width(width: int) -> None:
    lines = printed(REPORT, width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for said in (
        "of 20 layers have another pair; 47 % of what normalization cost is gone",
        "on 149 unseen images 0.7 points are lost, which is within chance",
        "top-1 86.6 % to 85.9 %, 95 % interval -2.7 to +1.3",
    ):
        assert said in text
    assert "…" not in text
    assert ("quartiles" in text) == (width >= 80)
    # The loss of a point is within an interval of its own.
    lost = REPORT.front[REPORT.chosen].drop
    ends = f"{lost:.2f} {lost - 1.8:.1f} to {lost + 2:.1f}"
    assert (ends in text) == (width >= 92)
    rows = [line.split()[0] for line in lines if line[:1].isalpha()]
    assert {"original", "chosen", "all"} <= set(rows)


@pytest.mark.parametrize("width", [160, 80, 60])
def test_predicted_latencies_are_called_that(width: int) -> None:
    front = tuple(replace(p, ratio=None, lower=None, upper=None) for p in REPORT.front)
    report = replace(REPORT, front=front, predicted_for="ONNX Runtime 1.20 on a [board] (1 thread)")
    lines = printed(report, width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "latency without norms = 1 (predicted)" in text
    assert "measured with ONNX Runtime 1.20 on a [board] (1 thread); nothing was timed here" in text
    assert "quartiles" not in text
    assert f" {front[0].predicted_ratio:.3f} " in text


def test_every_point_is_a_row() -> None:
    lines = printed(REPORT, 80).splitlines()
    for point in REPORT.front:
        assert any(f" {point.ratio:.3f} " in line for line in lines)


def test_changes_that_save_most_are_first_and_the_rest_on_request() -> None:
    report = replace(REPORT, chosen=11)
    few, every = printed(report, 80), printed(report, 80, every=True)
    assert "and 7 more (--all shows them)" in few
    assert every.count(" to BN/BN") == 19
    saved = [float(line.split()[-3]) for line in every.splitlines() if line.endswith("ms less")]
    assert saved == sorted(saved, reverse=True)


def test_a_distilled_network_has_a_row_of_its_own() -> None:
    report = replace(REPORT, finetuned=replace(REPORT.front[6], drop=0.31))
    (line,) = (line for line in printed(report, 80).splitlines() if line.startswith("distilled"))
    assert line.endswith("0.31")
    assert "chosen" not in printed(report, 80)


def test_without_labels_there_is_no_accuracy() -> None:
    text = printed(searched(RESNET18, labels=False), 80)
    assert "top-1" not in text
    assert "% changed" in text
    assert "the outputs change by 0.2 %" in text


def test_a_search_that_changed_nothing_says_so() -> None:
    text = printed(replace(REPORT, chosen=0, saved=0.0), 80)
    assert "Nothing faster is within the bounds" in text
    assert "ms less" not in text


def test_pairs_have_the_colours_of_normalizers_and_names_are_harmless() -> None:
    names = ["[red]a", HOSTILE + "\x1b[31m"]
    text = printed(searched(names, points=2, chosen=1), 80, colour=True)
    assert "\x1b[31m" not in text
    assert text.count("\x1b[38;5;28mBN\x1b[0m") >= 2
    assert "<img" in printed(searched(names, points=2, chosen=1), 80)


@pytest.mark.parametrize(("upper", "refuted"), [(-0.02, True), (0.01, False)])
def test_a_refuted_bound_is_said_at_the_end(upper: float, refuted: bool) -> None:
    difference = PairedDifference(-0.07, -0.08, upper, 0.95)
    report = replace(REPORT, test=replace(REPORT.test, difference=difference))
    assert ("does not hold" in printed(report, 80)) == refuted
