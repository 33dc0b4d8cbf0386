"""A difference in accuracy with its confidence interval, against 0 and the allowed loss."""

from __future__ import annotations

import math

from markupsafe import Markup

from ssn_prune.accuracy.results import PairedDifference
from ssn_prune.reporting.charts.svg import element, percent, ticks
from ssn_prune.reporting.figures import points

_HEIGHT = 56
_LINE = 34


def interval(found: PairedDifference, allowed: float | None) -> Markup:
    """Draw the difference in points; further right is better.

    Args:
        found: The difference, as shares between -1 and 1.
        allowed: Points that may be lost; None for no bound.
    """
    ends = [100 * value for value in (found.lower, found.mean, found.upper)]
    if not all(map(math.isfinite, ends)):
        return Markup("")
    bound = None if allowed is None or not math.isfinite(allowed) else -allowed
    seen = [0.0, *ends, *([] if bound is None else [bound])]
    span = max(max(seen) - min(seen), 0.5, 1e-9 * max(map(abs, seen)))
    low, high = min(seen) - 0.06 * span, min(seen) + 1.06 * span

    def x(value: float) -> str:
        return percent((value - low) / (high - low))

    parts = []
    for value, text in ticks(low, high, 6):
        at = x(value)
        parts.append(element("line", class_="grid", x1=at, x2=at, y1=_LINE - 10, y2=_HEIGHT))
        parts.append(element("text", text.replace("-", "−"), class_="tick", x=at, y=_HEIGHT + 14))
    parts.append(element("line", class_="free", x1=x(0), x2=x(0), y1=_LINE - 14, y2=_HEIGHT))
    if bound is not None:
        at = x(bound)
        parts.append(element("line", class_="limit", x1=at, x2=at, y1=_LINE - 14, y2=_HEIGHT))
    lower, mean, upper = ends
    parts.append(element("line", class_="range", x1=x(lower), x2=x(upper), y1=_LINE, y2=_LINE))
    parts.append(element("circle", class_="chosen", cx=x(mean), cy=_LINE, r=6))
    place = (mean - low) / (high - low)
    side = (
        "mark strong" if place < 0.3 else "mark strong end" if place > 0.7 else "mark strong middle"
    )
    label = f"{points(found.mean)} points"
    parts.append(element("text", label, class_=side, x=x(mean), y=_LINE - 16))
    said = f"{label}, {points(found.lower)} to {points(found.upper)}"
    return element(
        "svg",
        *parts,
        class_="plot",
        height=_HEIGHT + 18,
        role="img",
        aria_label=f"Difference of accuracy: {said}",
    )
