"""The error of every layer by depth, against its bound, on a logarithmic scale."""

from __future__ import annotations

from markupsafe import Markup

from ssn_prune.reporting.charts.svg import decades, element, logarithmic, power
from ssn_prune.reporting.view.trust import Profile

_HEIGHT = 150
_BELOW = _HEIGHT + 18
_MANY = 100
"""More points than this get smaller dots."""


def depth(profile: Profile) -> Markup:
    """A dot for each error and a dash for its bound."""
    points = profile.points
    low, high = decades([v for point in points for v in (point.error, point.bound)])
    step = max(1, (high - low + 4) // 5)
    parts = []
    for exponent in range(high, low - 1, -step):
        y = _y(10.0**exponent, low, high)
        parts.append(element("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        parts.append(element("text", power(exponent), class_="side", x=-8, y=y + 4))
    # Dots are zero-length lines: stretching to the page's width moves them, but keeps their size.
    marks = {"bound": "", "dot": "", "off": ""}
    half = 350 / len(points)
    for index, point in enumerate(points):
        x = 1000 * (index + 0.5) / len(points)
        error, bound = _y(point.error, low, high), _y(point.bound, low, high)
        marks["bound"] += f"M{x - half:.1f} {bound:.1f}h{2 * half:.1f}"
        marks["dot" if point.error <= point.bound else "off"] += f"M{x:.1f} {error:.1f}h0"
    drawn = [element("path", class_=kind, d=path) for kind, path in marks.items() if path]
    box = f"0 0 1000 {_HEIGHT}"
    parts.append(element("svg", *drawn, viewBox=box, preserveAspectRatio="none", height=_HEIGHT))
    parts.append(element("text", f"layer {points[0].layer}", class_="from", x="0", y=_BELOW))
    if len(points) > 1:
        parts.append(element("text", f"layer {points[-1].layer}", class_="to", x="100%", y=_BELOW))
    return element(
        "svg",
        *parts,
        class_="plot depth many" if len(points) > _MANY else "plot depth",
        height=_HEIGHT + 24,
        role="img",
        aria_label=f"{profile.what}: {profile.finding}",
    )


def _y(value: float, low: int, high: int) -> float:
    return 6 + (1 - logarithmic(value, 10.0**low, 10.0**high)) * (_HEIGHT - 12)
