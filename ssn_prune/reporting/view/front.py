"""The Pareto front of a search: latency against loss, as marks of a chart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ssn_prune.reporting.view.searched import delivered, gain_of, loss_interval
from ssn_prune.searching.choosing import latency
from ssn_prune.searching.results import FrontPoint, SearchReport

Kind = Literal["front", "original", "chosen", "all-bn", "distilled"]


@dataclass(frozen=True)
class FrontMark:
    """One network.

    Attributes:
        kind: The kind of network.
        label: Text next to the mark; empty for the other points of the front.
        what: Full description, for the tooltip.
        ratio: Latency, relative to the network without norms.
        lower: First quartile of the latency; equal to ``ratio`` if it is only predicted.
        upper: Third quartile of the latency.
        drop: Loss in points.
        least: Lower end of the 95 % interval of the loss.
        most: Upper end of that interval.
    """

    kind: Kind
    label: str
    what: str
    ratio: float
    lower: float
    upper: float
    drop: float
    least: float
    most: float


@dataclass(frozen=True)
class Front:
    """The chart.

    Attributes:
        finding: The result for the chosen network in one sentence.
        axis: Label of the axis of losses, with the unit.
        marks: The front from the original to the fastest, then the other networks.
        allowed: The bound on the loss, in points; None for no bound.
        budget: The bound on the latency; None for no bound.
        note: What a dot is, and where its numbers are from.
    """

    finding: str
    axis: str
    marks: tuple[FrontMark, ...]
    allowed: float | None
    budget: float | None
    note: str


def lost(report: SearchReport, drop: float) -> str:
    """A drop in words: ``0.3 points``, or ``0.3 % of the outputs`` without labels."""
    if not math.isfinite(drop):
        return "an unknown loss"
    digits = 2 if 0 < abs(drop) < 0.095 else 1
    if report.has_classes:
        return f"{drop:.{digits}f} points"
    return f"{drop:.{digits}f}\u00a0% of the outputs"


def front_of(report: SearchReport) -> Front:
    """The marks of a search; networks with an unknown latency or loss are left out."""
    options = report.options
    points: list[tuple[Kind, FrontPoint]] = []
    for index, point in enumerate(report.front):
        is_chosen = index == report.chosen and report.finetuned is None
        kind: Kind = "front" if point.changes else "original"
        points.append(("chosen" if is_chosen else kind, point))
    if report.finetuned is not None:
        points.append(("distilled", report.finetuned))
    if report.all_bn is not None:
        points.append(("all-bn", report.all_bn))
    marks = (_mark(report, kind, point) for kind, point in points)
    return Front(
        _finding(report),
        "points lost" if report.has_classes else "change of the outputs, %",
        tuple(m for m in marks if math.isfinite(m.ratio) and math.isfinite(m.drop)),
        options.allowed_drop,
        options.budget,
        _note(report),
    )


def _note(report: SearchReport) -> str:
    """The caption of the chart."""
    dot = "was measured as a whole file, with the quartiles of its latency and"
    if report.predicted_for is not None:
        dot = "is as fast as the costs of its layers predict, with"
    return (
        f"Each dot is a network that {dot} the 95 % interval of its loss. Lower and further left "
        "is better. Losses were measured on the search images."
    )


def _finding(report: SearchReport) -> str:
    """The gain, and the loss on the search images."""
    found, gain = delivered(report), gain_of(report)
    if not found.changes:
        return gain
    loss = lost(report, found.drop)
    return f"{gain} at {loss}" if gain.endswith("gone") else f"{gain}, at {loss}"


_LABELS: dict[Kind, str] = {
    "front": "",
    "original": "original",
    "chosen": "chosen",
    "all-bn": "all BN",
    "distilled": "chosen, distilled",
}


def _mark(report: SearchReport, kind: Kind, point: FrontPoint) -> FrontMark:
    ratio = latency(point)
    ends = [e for e in (point.lower, point.upper) if e is not None and math.isfinite(e)]
    label = _LABELS[kind]
    losses = loss_interval(report, point)
    interval = f" ({losses[0]:.1f} to {losses[1]:.1f})" if losses and point.changes else ""
    if kind in ("chosen", "distilled"):
        label = f"{label if point.changes else 'original, chosen'}: {ratio:.3f}"
    return FrontMark(
        kind,
        label,
        f"{_LABELS[kind] or 'front'}, {len(point.changes)} of {report.layers} layers changed: "
        f"latency {ratio:.3f}, {lost(report, point.drop)} lost{interval}",
        ratio,
        min((ratio, *ends)),
        max((ratio, *ends)),
        point.drop,
        min((point.drop, *losses)),
        max((point.drop, *losses)),
    )
