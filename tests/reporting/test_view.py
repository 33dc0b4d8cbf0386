"""Sections of a page as data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_runs import MOBILENET, RESNET18, bench, history, layer, layers, run

from ssn_prune.pruning.folds.table import FOLD_RULES
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.choice import choice_of
from ssn_prune.reporting.view.gains import gains_of
from ssn_prune.reporting.view.graph import graph_of
from ssn_prune.reporting.view.layers import MOVED, layers_of
from ssn_prune.reporting.view.page import page_of
from ssn_prune.reporting.view.reproduce import reproduce_of
from ssn_prune.reporting.view.trajectories import trajectories_of
from ssn_prune.reporting.view.trust import trust_of


def test_layers_stand_in_the_order_of_their_calls() -> None:
    shuffled = tuple(reversed(layers(RESNET18)))
    never = replace(layer("never.called"), order=None)
    found = layers_of(run(layers=(never, *shuffled)))
    assert [entry.name for entry in found] == [*RESNET18, "never.called"]
    assert [entry.number for entry in found] == list(range(1, 22))


@pytest.mark.parametrize(
    ("pair", "mean", "var"),
    [
        ("BN/BN", True, True),
        ("IN/BN", False, True),
        ("BN/LN", True, False),
        ("IN/IN", False, False),
        ("LN/LN", False, False),
    ],
)
def test_a_cell_is_hollow_where_its_statistic_folded_away(pair: str, mean: bool, var: bool) -> None:
    (found,) = layers_of(run(layers=(layer("sn1", pair),)))
    assert (found.mean.folded, found.var.folded, found.pair) == (mean, var, pair)


def test_every_fold_has_words() -> None:
    assert {rule.code for rule in FOLD_RULES} == set(MOVED)
    own = replace(layer("sn1", "BN/BN"), fold="into_my_layer", folded_into="conv9")
    assert layers_of(run(layers=(own,)))[0].fate == "into my layer into conv9"


def test_stages_and_their_labels() -> None:
    stages = choice_of(layers_of(run())).stages
    assert [stage.label for stage in stages] == ["sn1", "layer1", "layer2", "layer3", "layer4"]
    assert [len(stage.layers) for stage in stages] == [1, 4, 5, 5, 5]
    labels = [s.label for s in choice_of(layers_of(run(MOBILENET))).stages]
    assert labels[:4] == ["features.0", "1", "2", "3"]
    single = choice_of(layers_of(run(["a", "b", "c"]))).stages
    assert [(stage.label, len(stage.layers)) for stage in single] == [("", 3)]


def test_pairs_are_counted_by_mean_and_variance() -> None:
    names = ["a", "b", "c", "d"]
    pairs = ["IN/BN", "IN/BN", "BN/LN", "LN/LN"]
    made = tuple(layer(n, p, order=i) for i, (n, p) in enumerate(zip(names, pairs, strict=True)))
    choice = choice_of(layers_of(run(layers=made)))
    assert choice.counts == ((0, 0, 2), (0, 1, 0), (0, 1, 0))
    assert choice.finding == (
        "3 of 4 layers mix two normalizers; IN leads for the mean (2), LN for the variance (2)"
    )


def test_gains_are_what_was_measured() -> None:
    assert gains_of(run()) is None
    gains = gains_of(Run(run().report, bench(40, 36)))
    assert [bar.median for bar in gains.bars] == [40, 36, 32]
    assert gains.floor == 32
    assert gains.finding.replace("\u00a0", " ") == (
        "10 % faster than with all statistics; normalization takes 11 % of the time instead of 20 %"
    )
    assert [cost.share for cost in gains.costs] == sorted(c.share for c in gains.costs)[::-1]
    only = replace(bench(), networks=bench().networks[1:])
    assert gains_of(Run(run().report, only)) is None


def test_the_ruler_is_in_units_of_the_output() -> None:
    trust = trust_of(run(), layers_of(run()))
    assert [mark.value for mark in trust.marks] == pytest.approx([1.4e-6 / 13, 4e-7, 1.9e-5 / 13])
    assert trust.finding.replace("\u00a0", " ") == "The file uses 27 % of the error that is allowed"
    assert [len(profile.points) for profile in trust.profiles] == [20, 20]
    failed = run(first_off=15)
    found = trust_of(failed, layers_of(failed))
    assert found.finding == "The file is off by 2,158 times what is allowed"
    assert found.profiles[0].finding == f"{RESNET18[15]} and 4 more are off inside the file"
    assert trust_of(run(verification=None), ()) is None


def test_trajectories_are_read_from_their_lines() -> None:
    assert trajectories_of(run()) is None
    found = trajectories_of(Run(run().report, None, history()))
    assert found.finding.startswith("39 of 40 gates became one-hot")
    last = found.gates[-1]
    assert (last.frozen, last.since, set(last.leaders)) == (None, None, {"I"})
    first = found.gates[0]
    assert first.leaders[first.frozen :].islower() is False
    assert first.margins[first.frozen] == 1.0
    assert first.margins[0] < 0.2


def test_the_graph_counts_both_sides() -> None:
    graph = graph_of(run())
    mean = next(entry for entry in graph.operators if entry.name == "mean")
    assert (mean.before, mean.after) == (120, 30)
    assert graph.nodes == (("Sub", 25), ("Conv", 20))
    assert graph_of(run(onnx=None, before=None, after=None)) is None


def test_what_is_needed_to_do_it_again() -> None:
    found = reproduce_of(run())
    assert found.command == "ssn-prune convert model.pth --arch net --report page.html"
    groups = dict(found.facts)
    assert ("SHA-256", "cd" * 32) in groups["File"]
    assert ("torch", "2.14.1") in groups["Machine"]
    assert ("fold", "yes") in groups["Options"]
    assert found.steps == (("pruning", "1.5\u00a0s"),)


def test_sections_without_content_are_none() -> None:
    page = page_of(run(onnx=None, verification=None, before=None, after=None))
    assert (page.gains, page.trust, page.trajectories, page.graph) == (None,) * 4
