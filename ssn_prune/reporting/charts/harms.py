"""Harm by depth, on a logarithmic scale; the halves of a dot have the colours of the new pair."""

from __future__ import annotations

from markupsafe import Markup

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.reporting.charts.svg import decades, element, logarithmic, percent, power
from ssn_prune.reporting.view.harms import Harms

_HEIGHT = 200
_BELOW = _HEIGHT + 18
_MANY = 40
"""More layers than this get smaller dots."""


def harms(found: Harms) -> Markup:
    """A dot for each change, at its layer; harmless changes are at the lower edge."""
    low, high = decades([dot.harm for dot in found.dots])
    step = max(1, (high - low + 4) // 5)
    parts = []
    for exponent in range(high, low - 1, -step):
        y = _y(10.0**exponent, low, high)
        parts.append(element("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        parts.append(element("text", power(exponent), class_="side", x=-8, y=y + 4))
    looks = dict.fromkeys((dot.pair, dot.chosen) for dot in found.dots)
    radius = 5.0 if found.layers <= _MANY else 3.5
    parts.append(element("defs", *(_symbol(pair, filled, radius) for pair, filled in looks)))
    for dot in found.dots:
        parts.append(
            element(
                "use",
                element("title", dot.what),
                href=f"#{_name(dot.pair, dot.chosen)}",
                x=percent((dot.depth + 0.5) / found.layers),
                y=_y(dot.harm, low, high),
            )
        )
    parts.append(element("text", "first layer", class_="from", x="0", y=_BELOW))
    parts.append(element("text", "last layer", class_="to", x="100%", y=_BELOW))
    return element(
        "svg",
        *parts,
        class_="plot",
        height=_HEIGHT + 24,
        role="img",
        aria_label=f"Harm of single changes by depth: {found.finding}",
    )


def _name(pair: NormalizerPair, filled: bool) -> str:
    return f"harm-{pair.mean.name}-{pair.var.name}{'-chosen' if filled else ''}"


def _symbol(pair: NormalizerPair, filled: bool, radius: float) -> Markup:
    """The mean above the variance, as in the strip."""
    halves = []
    for normalizer, side, sweep in ((pair.mean, -1, 1), (pair.var, 1, 0)):
        edge = side * 0.6
        path = f"M{-radius:g} {edge}A{radius:g} {radius:g} 0 0 {sweep} {radius:g} {edge}z"
        look = "half" if filled else "half hollow"
        halves.append(element("path", class_=f"{look} {normalizer.name[:1]}", d=path))
    return element("g", *halves, id=_name(pair, filled))


def _y(value: float, low: int, high: int) -> float:
    return 6 + (1 - logarithmic(value, 10.0**low, 10.0**high)) * (_HEIGHT - 12)
