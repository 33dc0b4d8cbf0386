"""Measured numbers that the pages show, from the results in ``benchmarks/results``."""

from __future__ import annotations


def substitutions() -> dict[str, str]:
    """What ``{{ name }}`` becomes on the site."""
    return {}
