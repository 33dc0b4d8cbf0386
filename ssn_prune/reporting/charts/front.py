"""The Pareto front of a search: latency on the x axis, loss on the y axis.

Losses are drawn as log(1 + loss / 0.25 points). So 0 can be drawn, and the range below one point,
which matters most, takes as much room as that between 10 and 50.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from ssn_prune.reporting.charts.svg import element, percent, ticks
from ssn_prune.reporting.view.front import Front, FrontMark

_HEIGHT = 320
_TOP, _BELOW = 22, 30
"""Room for labels above the highest and below the lowest mark."""
_UNIT = 0.25
_LOSSES = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_LEAST_APART = 18
_NARROWEST = 0.01
"""Smallest range of the latency axis; smaller differences are noise."""


def front(found: Front) -> Markup:
    """Draw all marks, with their quartiles, and the bounds as lines."""
    place = _Places(found)
    marks = [*found.marks]
    marks.sort(key=lambda mark: mark.label != "")  # labels on top
    parts = [
        *_axes(place),
        *_bounds(found, place),
        _line([m for m in marks if m.kind in ("front", "original", "chosen")], place),
        *_distillation(marks, place),
        *(_drawn(mark, place) for mark in marks),
    ]
    return element(
        "svg",
        *parts,
        class_="plot front",
        height=_HEIGHT + 20,
        role="img",
        aria_label=f"Latency and {found.axis}: {found.finding}",
    )


class _Places:
    """Maps a latency to a share of the width, and a loss to pixels."""

    def __init__(self, found: Front) -> None:
        ratios = [1.0, *(r for mark in found.marks for r in (mark.lower, mark.upper))]
        ratios += [] if found.budget is None or not math.isfinite(found.budget) else [found.budget]
        low, high = min(ratios), max(ratios)
        span = max(high - low, _NARROWEST, 1e-9 * abs(high))
        self.low, self.high = low - 0.04 * span, low + 1.04 * span
        losses = [mark.most for mark in found.marks]
        allowed = found.allowed
        losses += [] if allowed is None or not math.isfinite(allowed) else [allowed]
        self.most = max((1.0, *losses))

    def x(self, ratio: float) -> float:
        return (ratio - self.low) / (self.high - self.low)

    def y(self, loss: float) -> float:
        share = math.log1p(max(0.0, loss) / _UNIT) / math.log1p(self.most / _UNIT)
        return _HEIGHT - _BELOW - share * (_HEIGHT - _BELOW - _TOP)


def _axes(place: _Places) -> list[Markup]:
    parts = []
    last = math.inf
    for loss in _LOSSES:
        y = place.y(loss)
        if loss <= place.most and last - y >= _LEAST_APART:
            parts.append(element("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
            parts.append(element("text", f"{loss:g}", class_="side", x=-8, y=y + 4))
            last = y
    for ratio, text in ticks(place.low, place.high, 5):
        x = percent(place.x(ratio))
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=_HEIGHT - 5, y2=_HEIGHT))
        parts.append(element("text", text, class_="tick", x=x, y=_HEIGHT + 15))
    free = percent(place.x(1.0))
    parts.append(element("line", class_="free", x1=free, x2=free, y1=0, y2=_HEIGHT))
    left = place.x(1.0) > 0.25
    kind, dx = ("side", -5) if left else ("side free", 5)
    parts.append(element("text", "no norms", class_=kind, x=free, dx=dx, y=_HEIGHT - 8))
    return parts


def _bounds(found: Front, place: _Places) -> list[Markup]:
    parts = []
    if found.allowed is not None and math.isfinite(found.allowed):
        y = place.y(found.allowed)
        parts.append(element("line", class_="limit", x1="0", x2="100%", y1=y, y2=y))
        right = not any(m.label and place.x(m.ratio) > 0.55 and m.drop > 0 for m in found.marks)
        at, kind = ("100%", "mark end") if right else (percent(place.x(1.0)), "mark")
        text = f"allowed: {found.allowed:g}"
        parts.append(element("text", text, class_=kind, x=at, dx=None if right else 5, y=y - 6))
    if found.budget is not None and math.isfinite(found.budget):
        x = percent(place.x(found.budget))
        parts.append(element("line", class_="limit", x1=x, x2=x, y1=0, y2=_HEIGHT))
        left = place.x(found.budget) > 0.5
        kind, dx = ("mark end", -5) if left else ("mark", 5)
        parts.append(element("text", f"budget {found.budget:g}", class_=kind, x=x, dx=dx, y=12))
    return parts


def _line(marks: Sequence[FrontMark], place: _Places) -> Markup:
    """A line through the undominated marks. It scales with the page, its stroke does not."""
    ordered: list[FrontMark] = []
    for mark in sorted(marks, key=lambda mark: (mark.ratio, mark.drop)):
        if not ordered or mark.drop < ordered[-1].drop:
            ordered.append(mark)
    places = (f"{1000 * place.x(m.ratio):.1f} {place.y(m.drop):.1f}" for m in ordered)
    path = element("path", class_="through", d=f"M{'L'.join(places)}") if ordered else ""
    box = f"0 0 1000 {_HEIGHT}"
    return element("svg", path, viewBox=box, preserveAspectRatio="none", height=_HEIGHT)


def _distillation(marks: Sequence[FrontMark], place: _Places) -> list[Markup]:
    """A line from the network before distillation to the one after it."""
    parts = []
    for after in (mark for mark in marks if mark.kind == "distilled"):
        for before in marks:
            if before.kind == "front" and before.ratio == after.ratio:
                x = percent(place.x(after.ratio))
                ends = {"y1": place.y(before.drop), "y2": place.y(after.drop)}
                parts.append(element("line", class_="whisker", x1=x, x2=x, **ends))
    return parts


def _drawn(mark: FrontMark, place: _Places) -> Markup:
    at, y = place.x(mark.ratio), place.y(mark.drop)
    x = percent(at)
    radius = 6 if mark.kind in ("chosen", "distilled") else 4
    parts = [element("title", mark.what)]
    if mark.upper > mark.lower:
        ends = {"x1": percent(place.x(mark.lower)), "x2": percent(place.x(mark.upper))}
        parts.append(element("line", class_="spread", y1=y, y2=y, **ends))
    if mark.most > mark.least and mark.kind != "original":
        heights = {"y1": place.y(mark.least), "y2": place.y(mark.most)}
        parts.append(element("line", class_="chance", x1=x, x2=x, **heights))
    parts.append(element("circle", class_=mark.kind, cx=x, cy=y, r=radius))
    if mark.label:
        parts.append(_label(mark, at, y))
    return element("g", *parts)


def _label(mark: FrontMark, at: float, y: float) -> Markup:
    """A label: below the original's mark, beside that of all BN, above that of the chosen one."""
    anchor = "mark" if at < 0.4 else "mark end" if at > 0.6 else "mark middle"
    if mark.kind == "all-bn":
        return element(
            "text",
            mark.label,
            class_="mark end" if at > 0.6 else "mark",
            x=percent(at),
            dx=-10 if at > 0.6 else 10,
            y=y + 4,
        )
    below = mark.kind == "original" or (mark.kind == "chosen" and not mark.drop > 0)
    weight = "" if mark.kind == "original" else " strong"
    nudge = {"mark": -6, "mark end": 6}.get(anchor)
    return element(
        "text",
        mark.label,
        class_=f"{anchor}{weight}",
        x=percent(at),
        dx=nudge,
        y=y + 20 if below else y - 12,
    )
