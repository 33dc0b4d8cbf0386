"""The ruler: the original's own error, the file's, and the bound, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ssn_prune.reporting.charts.svg import decades, element, logarithmic, percent, power
from ssn_prune.reporting.figures import small
from ssn_prune.reporting.view.trust import Mark

_ROW = 26


def ruler(marks: Sequence[Mark]) -> Markup:
    """Draw the marks one below the other, each with its label."""
    low, high = decades([mark.value for mark in marks])
    bottom = _ROW * len(marks) + 6
    parts = []
    for exponent in range(low, high + 1):
        x = percent((exponent - low) / (high - low))
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=0, y2=bottom))
        parts.append(element("text", power(exponent), class_="tick", x=x, y=bottom + 16))
    for row, mark in enumerate(marks):
        at = logarithmic(mark.value, 10.0**low, 10.0**high)
        y = _ROW * row + 16
        parts.append(
            element("line", class_=f"stem {mark.kind}", x1="0", x2=percent(at), y1=y, y2=y)
        )
        parts.append(element("circle", class_=mark.kind, cx=percent(at), cy=y, r=5))
        left = at > 0.5
        text = element(
            "text",
            f"{mark.label} {small(mark.value)}",
            class_=f"mark {'end' if left else ''}".strip(),
            x=percent(at),
            y=y + 4,
            dx=-11 if left else 11,
        )
        parts.append(text)
    said = ", ".join(f"{mark.label} {small(mark.value)}" for mark in marks)
    return element(
        "svg", *parts, class_="plot", height=bottom + 22, role="img", aria_label=f"Errors: {said}"
    )
