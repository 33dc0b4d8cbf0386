"""SVG elements as safe text: everything that goes into them is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from markupsafe import Markup, escape

Attribute = str | int | float
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot hold, not even escaped."""


def element(name: str, *children: Markup | str, **attributes: Attribute | None) -> Markup:
    """One element.

    Args:
        name: The tag.
        *children: Elements, or text, which is escaped.
        **attributes: Attributes; those that are None are left out. ``_`` stands for ``-``, and a
            trailing one is dropped, as in ``class_``.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(_written(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(map(_escaped, children))
    return Markup(f"<{name}{pairs}>{inner}</{name}>" if inner else f"<{name}{pairs}/>")


def _escaped(content: Markup | str) -> Markup:
    if isinstance(content, Markup):
        return content
    return escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", content))


def joined(parts: Sequence[Markup]) -> Markup:
    """Concatenate elements."""
    return Markup("").join(parts)


def percent(value: float) -> str:
    """A position in percent, to a hundredth."""
    return f"{_written(round(100 * value, 2))}%"


def logarithmic(value: float, low: float, high: float) -> float:
    """Position of a value between two others on a logarithmic scale, clipped to 0 to 1."""
    if not value > low:
        return 0.0
    if not value < high:
        return 1.0
    return math.log10(value / low) / math.log10(high / low)


def decades(values: Sequence[float]) -> tuple[int, int]:
    """Exponents of the powers of ten that enclose the values, 2 to 20 apart.

    Values that are 0 or not finite do not count.
    """
    known = [value for value in values if 0 < value < math.inf] or [1e-6]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    high = max(high, low + 2)
    return max(low, high - 20), high


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round values between two others, with their texts; at most ``most + 1``."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if factor * step * most >= high - low)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step)
    places = [(first + index) * step for index in range(most + 1)]
    return [(place, f"{place + 0.0:.{digits}f}") for place in places if place <= high]


def power(exponent: int) -> str:
    """A power of ten as text: ``1e-6``."""
    return f"1e{exponent}"


def _written(value: Attribute) -> str:
    if isinstance(value, float):
        text = f"{value:.2f}".rstrip("0").rstrip(".")
        return text or "0"
    return str(value)
