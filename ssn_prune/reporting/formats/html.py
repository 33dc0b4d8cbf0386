"""The HTML page of a run: one self-contained file."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from ssn_prune.reporting.charts.bars import bars
from ssn_prune.reporting.charts.depth import depth
from ssn_prune.reporting.charts.front import front
from ssn_prune.reporting.charts.harms import harms
from ssn_prune.reporting.charts.interval import interval
from ssn_prune.reporting.charts.ruler import ruler
from ssn_prune.reporting.charts.strip import StagePictures, strip
from ssn_prune.reporting.charts.trajectories import trajectory
from ssn_prune.reporting.figures import counted, milliseconds, share, small
from ssn_prune.reporting.rendering import rendered
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.choice import NAMES
from ssn_prune.reporting.view.layers import Layer
from ssn_prune.reporting.view.page import Page, page_of


@dataclass(frozen=True)
class _Columns:
    """Which columns of the table of layers have content."""

    form: bool
    fate: bool
    cost: bool
    error: bool


def html(run: Run) -> str:
    """The page of a run; the same run gives the same bytes."""
    page = page_of(run)
    profiles = page.trust.profiles if page.trust is not None else ()
    gates = page.trajectories.gates if page.trajectories is not None else ()
    return rendered(
        "page.html.j2",
        run.document(defaults=False),
        scripts=("page.js", "paths.js") if gates else ("page.js",),
        page=page,
        names=NAMES,
        strip=strip(page.choice.stages),
        search=_search_charts(page, run),
        bars=bars(page.gains) if page.gains is not None else "",
        ruler=ruler(page.trust.marks) if page.trust is not None and page.trust.marks else "",
        profiles=[(profile, depth(profile)) for profile in profiles],
        trails=[(gate, trajectory(gate)) for gate in gates],
        has=_columns(page.layers),
        layers_finding=_finding(page.layers),
        percent=share,
        small=small,
        time=milliseconds,
    )


@dataclass(frozen=True)
class _SearchCharts:
    """The charts of the section about the search."""

    front: Markup
    before: tuple[StagePictures, ...]
    after: tuple[StagePictures, ...]
    harms: Markup
    interval: Markup


def _search_charts(page: Page, run: Run) -> _SearchCharts | None:
    found = page.search
    if found is None or run.search is None:
        return None
    difference = run.search.test.difference
    allowed = run.search.options.allowed_drop
    return _SearchCharts(
        front(found.front),
        strip(found.before, found.changed),
        strip(found.after, found.changed),
        Markup("") if found.harms is None else harms(found.harms),
        Markup("") if difference is None else interval(difference, allowed),
    )


def _columns(layers: tuple[Layer, ...]) -> _Columns:
    return _Columns(
        form=any(layer.form is not None for layer in layers),
        fate=any(layer.fate for layer in layers),
        cost=any(layer.milliseconds is not None for layer in layers),
        error=any(layer.error is not None for layer in layers),
    )


def _finding(layers: tuple[Layer, ...]) -> str:
    if all(layer.form is None for layer in layers):
        return counted(len(layers), "switchable layer")
    gone = sum(layer.folded for layer in layers)
    partly = sum(layer.mean.folded != layer.var.folded for layer in layers)
    return (
        f"Of {counted(len(layers), 'layer')}, {gone} cost nothing any more, and {partly} folded "
        "their mean or the scale of their variance into a neighbour"
    )
