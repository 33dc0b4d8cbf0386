"""Latencies: one bar per network with its quartiles, and the floor as a line."""

from __future__ import annotations

from markupsafe import Markup

from ssn_prune.reporting.charts.svg import element, percent
from ssn_prune.reporting.view.gains import Gains

_ROW = 44


def bars(gains: Gains) -> Markup:
    """Draw the bars, starting at 0."""
    longest = max(max(bar.upper, bar.median) for bar in gains.bars)
    parts = []
    for row, bar in enumerate(gains.bars):
        top = _ROW * row
        middle = top + 28
        kind = "floor" if bar.median == gains.floor else "network" if row else "before"
        width = percent(bar.median / longest)
        ends = {"x1": percent(bar.lower / longest), "x2": percent(bar.upper / longest)}
        parts += [
            element("text", f"{bar.label}: {bar.text}", class_="mark", x="0", y=top + 14),
            element("rect", class_=f"bar {kind}", x="0", y=top + 20, width=width, height=16),
            element("line", class_="whisker", y1=middle, y2=middle, **ends),
        ]
        for end in ends.values():
            parts.append(
                element("line", class_="whisker", x1=end, x2=end, y1=middle - 4, y2=middle + 4)
            )
    bottom = _ROW * len(gains.bars)
    if gains.floor is not None:
        x = percent(gains.floor / longest)
        parts.append(element("line", class_="limit", x1=x, x2=x, y1=18, y2=bottom - 6))
    said = ", ".join(f"{bar.label} {bar.text}" for bar in gains.bars)
    return element(
        "svg", *parts, class_="plot", height=bottom, role="img", aria_label=f"Latency: {said}"
    )
