"""Format numbers with as many digits as a reader needs."""

from __future__ import annotations

import math

NBSP = "\u00a0"


def share(value: float) -> str:
    """A share in percent: ``5 %``; one decimal only below 2 %."""
    percent = 100 * value
    if not math.isfinite(percent):
        return "?"
    if 0 < abs(percent) < 0.1:
        return f"under 0.1{NBSP}%"
    digits = 1 if 0 < abs(percent) < 2 else 0
    return f"{percent:.{digits}f}{NBSP}%"


def percent(value: float) -> str:
    """An accuracy in percent, with one decimal: ``86.6 %``."""
    return f"{100 * value:.1f}{NBSP}%" if math.isfinite(value) else "?"


def points(value: float) -> str:
    """A difference in accuracy in points, with its sign: ``+0.3``, ``−1.2``, ``0``."""
    text = f"{100 * value:+.1f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def small(value: float) -> str:
    """An error with two digits: ``5.2e-6``."""
    if not math.isfinite(value):
        return "infinite"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def times(value: float) -> str:
    """A factor: ``1.2``, ``17``, ``3,400``."""
    if not math.isfinite(value):
        return "infinitely"
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def milliseconds(value: float) -> str:
    """A time: ``41 ms``, ``4.1 ms``, ``0.13 ms``."""
    if not math.isfinite(value):
        return "?"
    digits = 0 if value >= 30 else 1 if value >= 3 else 2
    return f"{value:.{digits}f}{NBSP}ms"


def size(count: float) -> str:
    """Bytes: ``45 MB``, ``4.5 MB``, ``12 kB``."""
    value, unit = (count / 1e6, "MB") if count >= 1e5 else (count / 1e3, "kB")
    return f"{value:.0f}{NBSP}{unit}" if value >= 10 else f"{value:.1f}{NBSP}{unit}"


def seconds(value: float) -> str:
    """A duration: ``12.3 s``."""
    return f"{value:.1f}{NBSP}s" if math.isfinite(value) else "?"


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 layer``, ``20 layers``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
