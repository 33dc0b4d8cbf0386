"""The section about a search: what it promises, what it must not, and what it draws."""

from __future__ import annotations

import csv as rows
import io
import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from report_runs import HOSTILE, HUGE, MOBILENET, RESNET18, checks, run
from search_samples import FREE, searched, searched_run

from ssn_prune.accuracy.results import PairedDifference
from ssn_prune.errors import ArgumentError, ReportError
from ssn_prune.reporting.charts.front import front
from ssn_prune.reporting.charts.harms import harms
from ssn_prune.reporting.charts.interval import interval
from ssn_prune.reporting.charts.svg import ticks
from ssn_prune.reporting.formats.csv import csv
from ssn_prune.reporting.formats.html import html
from ssn_prune.reporting.formats.markdown import markdown
from ssn_prune.reporting.run import Run, run_of
from ssn_prune.reporting.view.comparison import comparison_of
from ssn_prune.reporting.view.page import page_of
from ssn_prune.searching.results import SearchOptions, SearchReport

REPORT = searched(RESNET18)
FOUND = searched_run(RESNET18, REPORT)
CHANGES = REPORT.front[REPORT.chosen].changes


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def view(report: SearchReport, names: list[str] = RESNET18) -> Any:
    return page_of(searched_run(names, report)).search


def test_latencies_of_another_device_are_said_to_be_predicted() -> None:
    points = tuple(replace(p, ratio=None, lower=None, upper=None) for p in REPORT.front)
    device = "ONNX Runtime 1.20 on a <board>"
    report = replace(REPORT, front=points, additive_error=None, predicted_for=device)
    notes = " ".join(view(report).notes)
    assert f"measured with {device}; nothing was timed here" in notes
    assert "interleaved" not in notes
    assert "off by" not in notes
    page = html(searched_run(RESNET18, report))
    assert "a &lt;board&gt;" in page
    assert "is as fast as the costs of its layers predict" in page
    assert "measured as a whole file" not in page
    assert page_of(searched_run(RESNET18, report)).verdict.figures[0].label.startswith("predicted")
    assert "measured as a whole file" in html(FOUND)
    ratios = [mark.ratio for mark in view(report).front.marks]
    assert ratios[0] == REPORT.front[0].predicted_ratio


def distilled(report: SearchReport = REPORT) -> SearchReport:
    point = replace(report.front[report.chosen + 2], drop=0.2)
    return replace(report, chosen=report.chosen + 2, finetuned=point, saved=0.6)


def test_the_verdict_says_that_the_network_is_another_one() -> None:
    verdict = page_of(FOUND).verdict
    assert verdict.status == "changed"
    assert plain(f"{verdict.lead}{verdict.sentence}") == (
        f"Another network: a search changed {len(CHANGES)} of 20 layers. 47 % of what "
        "normalization cost is gone; on 149 unseen images 0.7 points are lost, which is within "
        "chance. The file computes exactly that network."
    )
    assert verdict.command is None
    figures = [(f.value, plain(f.note)) for f in verdict.figures]
    assert figures[:2] == [("1.046", "1.070 before"), ("−0.7", "95 % interval −2.7 to +1.3")]
    assert figures[2][1].endswith("allowed")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"verification": None}, "unverified"),
        ({"verification": checks(RESNET18, first_off=3)}, "failed"),
    ],
)
def test_a_search_never_hides_a_check(parts: dict[str, Any], status: str) -> None:
    found = Run(replace(FOUND.report, **parts), search=REPORT)
    verdict = page_of(found).verdict
    assert verdict.status == status
    assert "exactly" not in verdict.sentence + verdict.detail
    assert "This is not the checkpoint's network: a search" in verdict.detail


def test_a_search_that_changed_nothing_leaves_the_answers_the_same() -> None:
    found = searched_run(RESNET18, replace(REPORT, chosen=0, saved=0.0))
    page = page_of(found)
    assert (page.verdict.status, page.verdict.lead) == ("same", "Same answers")
    assert page.search.finding.startswith("Nothing faster is within the bounds")
    assert page.search.changes == page.search.before == ()
    assert "The selections" not in html(found)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (
            PairedDifference(-0.037, -0.07, -0.006, 0.95),
            "3.7 points are lost, which is more than ch",
        ),
        (PairedDifference(-0.07, -0.08, -0.011, 0.95), "more than the 1 that may be lost"),
        (PairedDifference(0.004, -0.01, 0.02, 0.95), "0.4 points are gained, which is within"),
        (PairedDifference(0.0, -0.01, 0.01, 0.95), "the accuracy is the same"),
    ],
)
def test_the_finding_is_that_of_the_final_test(difference: PairedDifference, words: str) -> None:
    report = replace(REPORT, test=replace(REPORT.test, difference=difference))
    assert words in view(report).finding
    assert words in page_of(searched_run(RESNET18, report)).verdict.sentence


def test_a_bound_that_the_final_test_refutes_is_said_to_be() -> None:
    for upper, refuted in ((-0.011, True), (-0.01, False)):
        test = replace(REPORT.test, difference=PairedDifference(-0.07, -0.08, upper, 0.95))
        notes = view(replace(REPORT, test=test)).notes
        assert any("does not hold" in note for note in notes) == refuted
    options = SearchOptions(budget=1.05)
    assert not any("does not" in n for n in view(replace(REPORT, test=test, options=options)).notes)


@pytest.mark.parametrize(("harm", "refuted"), [(0.013, True), (0.0125, False)])
def test_without_labels_the_change_of_the_outputs_refutes_a_bound(
    harm: float, refuted: bool
) -> None:
    """The bound is 1 %, and the interval reaches 0.29 % to each side."""
    report = searched(RESNET18, labels=False)
    report = replace(report, test=replace(report.test, harm=harm, error=0.0015))
    assert any("does not hold" in note for note in view(report).notes) == refuted
    assert ("more than the 1 that may be lost" in view(report).finding) == refuted


@pytest.mark.parametrize(("others", "refuted"), [(0.0131, True), (0.0128, False)])
def test_the_change_of_other_outputs_refutes_a_bound(others: float, refuted: bool) -> None:
    same = PairedDifference(0.0, -0.01, 0.01, 0.95)
    test = replace(REPORT.test, difference=same, others=others, others_error=0.0015)
    found = view(replace(REPORT, test=test))
    assert any("does not hold" in note for note in found.notes) == refuted
    assert any("outputs other than the classes" in note for note in found.notes)
    said = "the accuracy is the same; the other outputs change by 1.3 %"
    beyond = ", more than the 1 that may be lost"
    assert plain(found.finding).endswith(said + beyond * refuted)
    lost = replace(test, difference=PairedDifference(-0.07, -0.08, -0.06, 0.95))
    finding = plain(view(replace(REPORT, test=lost)).finding)
    assert "lost, which is more than the 1 that may be lost; the other" in finding
    assert finding.count("may be lost") == 1


def test_latencies_within_the_noise_are_no_gain() -> None:
    wide = tuple(replace(p, lower=p.ratio - 0.2, upper=p.ratio + 0.2) for p in REPORT.front)
    found = view(replace(REPORT, front=wide))
    assert found.front.finding.startswith("The difference in latency is within")
    assert "%" not in found.finding


def test_the_front_names_original_all_bn_and_chosen() -> None:
    marks = view(REPORT).front.marks
    labels = {mark.kind: mark.label for mark in marks if mark.label}
    assert labels == {"original": "original", "chosen": "chosen: 1.046", "all-bn": "all BN"}
    assert len(marks) == len(REPORT.front) + 1
    chosen = next(mark for mark in marks if mark.kind == "chosen")
    assert (chosen.lower, chosen.upper) == (chosen.ratio - 0.001, chosen.ratio + 0.002)
    assert plain(view(REPORT).front.finding) == (
        "47 % of what normalization cost is gone at 0.7 points"
    )


def test_a_loss_has_the_interval_that_is_paired_with_the_original() -> None:
    point = replace(REPORT.front[3], difference=PairedDifference(-0.004, -0.03, 0.01, 0.95))
    points = list(REPORT.front)
    points[3] = replace(point, drop=0.4)
    mark = view(replace(REPORT, front=tuple(points))).front.marks[3]
    assert (mark.least, mark.most) == (-1.0, 3.0)
    assert "0.4 points lost (-1.0 to 3.0)" in mark.what
    # A loss that the probabilities expect may lie beyond what was measured.
    points[3] = replace(point, drop=3.5)
    assert view(replace(REPORT, front=tuple(points))).front.marks[3].most == 3.5


def test_without_labels_the_interval_is_that_of_the_change() -> None:
    report = searched(["a", "b"], labels=False)
    points = (*report.front[:1], replace(report.front[1], drop=2.0, error=0.005))
    mark = view(replace(report, front=points, chosen=0), ["a", "b"]).front.marks[1]
    assert (mark.least, mark.most) == (pytest.approx(2 - 0.98), pytest.approx(2 + 0.98))


def test_a_distilled_network_is_the_one_that_is_delivered() -> None:
    found = view(distilled())
    labels = [mark.label for mark in found.front.marks if mark.kind in ("chosen", "distilled")]
    assert labels == ["chosen, distilled: 1.034"]
    assert len(found.changes) == len(REPORT.front[REPORT.chosen + 2].changes)
    assert "distilled" in page_of(searched_run(RESNET18, distilled())).verdict.sentence


def test_the_original_stands_above_the_chosen_network() -> None:
    report = searched(RESNET18, soft=(RESNET18.index(CHANGES[0].layer),))
    found = view(report)
    before, after = (
        {layer.name: layer.pair for stage in stages for layer in stage.layers}
        for stages in (found.before, found.after)
    )
    new = {change.layer: str(change.after) for change in report.front[report.chosen].changes}
    assert found.changed == set(new)
    assert {name for name in before if before[name] != after[name]} <= set(new)
    assert all(after[name] == pair for name, pair in new.items())
    first = report.front[report.chosen].changes[0]
    assert (first.before, before[first.layer]) == (None, "/")
    assert 'href="#u"' in html(searched_run(RESNET18, report))


def test_changes_are_a_table_with_what_each_saves_and_does_alone() -> None:
    found = view(REPORT).changes
    saved = sorted((change.saved_ms for change in CHANGES), reverse=True)
    assert [float(row.saved.split()[0]) for row in found] == [round(ms, 2) for ms in saved]
    assert all(row.after == ("BN", "BN") and "e" in row.harm for row in found)


def test_single_harms_are_thinned_by_layer_and_keep_what_was_chosen() -> None:
    report = searched(MOBILENET, others=8)
    found = view(report, MOBILENET).harms
    assert "424 single changes, of which 160 are shown" in found.how
    assert len(found.dots) == 160
    assert {dot.depth for dot in found.dots} == set(range(len(MOBILENET)))
    chosen = [dot for dot in found.dots if dot.chosen]
    assert len(chosen) == len(report.front[report.chosen].changes)
    assert found.dots[-len(chosen) :] == tuple(chosen)
    assert len(view(searched(HUGE, others=2), HUGE).harms.dots) == 160


def test_the_finding_about_harm_counts_the_layers_that_carry_it() -> None:
    harms_found = (0.5, 0.5, 0.01, 0.0)
    singles = tuple(
        replace(REPORT.singles[0], layer=f"l{i}", depth=i, after=FREE, harm=harm)
        for i, harm in enumerate(harms_found)
    )
    found = view(replace(REPORT, singles=singles)).harms
    assert plain(found.finding).startswith("2 of 4 layers carry 90 % of the harm")
    nothing = tuple(replace(one, harm=0.0) for one in singles)
    assert view(replace(REPORT, singles=nothing)).harms.finding == "No single change does any harm"
    assert view(replace(REPORT, singles=())).harms is None


def test_dots_are_where_their_layer_and_harm_are() -> None:
    found = replace(view(REPORT).harms, dots=view(REPORT).harms.dots[:2])
    low, high = sorted(found.dots, key=lambda dot: dot.harm)
    drawn = re.findall(r'<use href="[^"]*" x="([\d.]+)%" y="([\d.]+)"', harms(found))
    places = {float(x): float(y) for x, y in drawn}
    x = {dot: round(100 * (dot.depth + 0.5) / found.layers, 2) for dot in (low, high)}
    assert set(places) == set(x.values())
    if low.harm < high.harm and x[low] != x[high]:
        assert places[x[low]] > places[x[high]]


def test_less_lost_is_lower_and_faster_is_left() -> None:
    drawn = front(view(replace(REPORT, all_bn=None)).front)
    found = re.findall(r'<circle class="(\S+)" cx="([\d.]+)%" cy="([\d.]+)"', drawn)
    places = {(float(x), float(y)): kind for kind, x, y in found}
    ordered = sorted(places)
    assert [y for _, y in ordered] == sorted(y for _, y in ordered)
    assert places[ordered[-1]] == "original"


def test_bounds_are_lines_with_their_values() -> None:
    options = SearchOptions(budget=1.03, max_drop=0.75)
    drawn = front(view(replace(REPORT, options=options)).front)
    assert "budget 1.03" in drawn
    assert "allowed: 0.75" in drawn
    neither = front(view(replace(REPORT, options=SearchOptions(budget=1.03))).front)
    assert "allowed" not in neither


def test_an_interval_is_drawn_in_points() -> None:
    drawn = interval(REPORT.test.difference, 1.0)
    assert "−0.7 points" in drawn
    assert 'class="limit"' in drawn
    assert 'class="limit"' not in interval(REPORT.test.difference, None)
    assert interval(PairedDifference(math.nan, 0, 0, 0.95), None) == ""


@pytest.mark.parametrize(("low", "high"), [(0.99, 1.08), (-7.2, 0.3), (0, 1e6), (1, 1.002)])
def test_ticks_are_round_and_few(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 6
    assert all(low <= place <= high for place, _ in found)
    assert all(math.isclose(float(text), place, abs_tol=1e-12) for place, text in found)
    assert len({text for _, text in found}) == len(found)


def test_without_labels_a_loss_is_a_change_of_the_outputs() -> None:
    found = view(searched(RESNET18, labels=False))
    assert found.front.axis == "change of the outputs, %"
    assert plain(found.finding).endswith("the outputs change by 0.2 %")
    assert found.tested == ()
    text = html(searched_run(RESNET18, searched(RESNET18, labels=False)))
    assert "points lost" not in text


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("moved", [True, False])
def test_the_notes_say_whether_images_were_moved(moved: bool, labels: bool) -> None:
    report = searched(RESNET18, labels=labels, moved_images=moved)
    assert ("Search images are shifted" in " ".join(view(report).notes)) == moved


def test_the_notes_count_images_and_say_how_far_predictions_are_off() -> None:
    notes = plain(" ".join(view(REPORT).notes))
    for said in (
        "100 images",
        "200 others",
        "another 149, which no network saw before",
        "nats",
        "0.4 % of that",
    ):
        assert said in notes
    assert "computed only once" in notes
    assert "run from the start" in " ".join(view(replace(REPORT, shared_prefixes=False)).notes)


def section(text: str) -> str:
    start = text.index('<section id="search">')
    return text[start : text.index("</section>", start)]


def test_the_section_is_small() -> None:
    assert len(REPORT.singles) == 100
    long = searched(RESNET18, points=20)
    text = section(html(searched_run(RESNET18, replace(long, chosen=19))))
    assert len(text.encode()) < 40_000
    big = searched(HUGE, others=8, points=20)
    assert len(section(html(searched_run(HUGE, replace(big, chosen=19)))).encode()) < 220_000


def test_a_page_without_a_search_has_no_such_section() -> None:
    assert 'id="search"' not in html(run())
    assert "before_search" not in csv(run())


def test_a_hostile_layer_is_text() -> None:
    names = [*RESNET18[:5], HOSTILE]
    report = searched(names, points=3)
    text = html(searched_run(names, replace(report, chosen=2)))
    assert "<img" not in text
    assert section(text).count("&lt;img src=x") >= 3


def test_a_document_gives_the_search_that_it_was_made_of() -> None:
    slower = replace(REPORT, saved=-0.2, options=SearchOptions(max_drop=1.0, seed=-3))
    for report in (REPORT, distilled(), slower, searched(RESNET18, labels=False, soft=(2,))):
        found = searched_run(RESNET18, report)
        assert run_of(json.loads(json.dumps(found.document()))) == found
        assert run_of(json.loads(json.dumps(found.document(defaults=False)))) == found


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("chosen",), 99, "search"),
        (("chosen",), -1, "search.chosen"),
        (("front",), [], "search"),
        (("front", 0, "changes"), {}, "search.front[0].changes"),
        (("singles", 3, "after", "mean"), "XN", "search.singles[3].after.mean"),
        (("singles", 3, "after"), "BN/BN", "search.singles[3].after"),
        (("singles", 3, "depth"), 0.5, "search.singles[3].depth"),
        (("images", "test"), "many", "search.images.test"),
        (("test", "difference", "mean"), True, "search.test.difference.mean"),
        (("shared_prefixes",), 1, "search.shared_prefixes"),
    ],
)
def test_a_search_that_cannot_be_is_refused_by_its_field(path, value, named) -> None:
    document = json.loads(json.dumps(FOUND.document()))
    *way, last = ("search", *path)
    inside = document
    for part in way:
        inside = inside[part]
    inside[last] = value
    with pytest.raises(ReportError) as caught:
        run_of(document)
    assert named in caught.value.problem
    assert None not in (caught.value.expected, caught.value.found, caught.value.hint)


def test_a_front_without_the_chosen_point_is_no_report() -> None:
    with pytest.raises(ArgumentError, match="not in the front"):
        replace(REPORT, front=())


def test_rows_have_the_pair_before_the_search() -> None:
    first, *found = rows.reader(io.StringIO(csv(FOUND)))
    assert first[-1] == "before_search"
    before = {row[1]: row[-1] for row in found}
    assert all(before[change.layer] == str(change.before) for change in CHANGES)
    kept = {row[1]: row[-1] == f"{row[3]}/{row[4]}" for row in found}
    assert all(kept[name] for name in RESNET18 if name not in {c.layer for c in CHANGES})


def test_a_card_says_what_was_changed() -> None:
    text = plain(markdown(FOUND))
    assert "## What the search changed" in text
    assert f"{len(CHANGES)} of 20 layers have another pair" in text
    assert "| layer | before | chosen |" in text


def test_two_runs_compare_what_their_searches_found() -> None:
    found = {row.label: (row.old, row.new) for row in comparison_of(run(), FOUND).rows}
    assert found["layers changed by a search"] == ("–", str(len(CHANGES)))
    assert found["latency after the search, no norms = 1"] == ("–", "1.046")
    assert found["change in accuracy, on unseen images"] == ("–", "−0.7 points")
    assert "layers changed by a search" not in {
        row.label for row in comparison_of(run(), run()).rows
    }
