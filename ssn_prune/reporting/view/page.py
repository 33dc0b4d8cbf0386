"""All sections of a page."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.accuracy import AccuracyView, accuracy_view
from ssn_prune.reporting.view.choice import Choice, choice_of
from ssn_prune.reporting.view.gains import Gains, gains_of
from ssn_prune.reporting.view.graph import Graph, graph_of
from ssn_prune.reporting.view.layers import Layer, layers_of
from ssn_prune.reporting.view.reproduce import Reproduce, reproduce_of
from ssn_prune.reporting.view.search import SearchView, search_of
from ssn_prune.reporting.view.trajectories import Trajectories, trajectories_of
from ssn_prune.reporting.view.trust import Trust, trust_of
from ssn_prune.reporting.view.verdict import Verdict, verdict_of


@dataclass(frozen=True)
class Page:
    """A page; sections without content are None.

    Attributes:
        title: The architecture and the checkpoint.
        verdict: The verdict.
        choice: The selection of the network.
        search: How the selection was found.
        gains: The gains of the conversion.
        trust: Whether the result can be trusted.
        accuracy: Both networks on images.
        trajectories: The gates over the course of the training.
        layers: All layers.
        graph: The graph.
        reproduce: How to reproduce the run.
    """

    title: str
    verdict: Verdict
    choice: Choice
    search: SearchView | None
    gains: Gains | None
    trust: Trust | None
    accuracy: AccuracyView | None
    trajectories: Trajectories | None
    layers: tuple[Layer, ...]
    graph: Graph | None
    reproduce: Reproduce


def page_of(run: Run) -> Page:
    """The page of a run."""
    layers = layers_of(run)
    source = run.report.source
    return Page(
        title=f"{source.arch}, {source.file_name}" if source.arch else source.file_name,
        verdict=verdict_of(run, layers),
        choice=choice_of(layers),
        search=search_of(run, layers),
        gains=gains_of(run),
        trust=trust_of(run, layers),
        accuracy=None
        if run.accuracy is None
        else accuracy_view(run.accuracy, run.report.preprocessing),
        trajectories=trajectories_of(run),
        layers=layers,
        graph=graph_of(run),
        reproduce=reproduce_of(run),
    )
