"""Gate trajectories: the colour shows the leading normalizer, the opacity its margin."""

from __future__ import annotations

from itertools import groupby

from markupsafe import Markup

from ssn_prune.reporting.charts.svg import element, percent
from ssn_prune.reporting.view.trajectories import Trajectory


def trajectory(gate: Trajectory) -> Markup:
    """One gate as a row of coloured parts; equal neighbours are merged."""
    count = len(gate.leaders)
    parts = []
    start = 0
    shades = [round(4 * margin) for margin in gate.margins]
    for (letter, shade), run in groupby(zip(gate.leaders, shades, strict=True)):
        length = len(list(run))
        parts.append(
            element(
                "rect",
                class_=f"{letter} s{shade}",
                x=percent(start / count),
                width=percent(length / count),
            )
        )
        start += length
    if gate.frozen is not None:
        x = percent(gate.frozen / count)
        parts.append(element("line", class_="frozen", x1=x, x2=x, y2="100%"))
    since = "not one-hot" if gate.since is None else f"one-hot since step {gate.since}"
    label = f"{gate.layer}, {gate.gate}: {since}"
    return element(
        "svg",
        element("title", label),
        *parts,
        class_="plot line",
        role="img",
    )
