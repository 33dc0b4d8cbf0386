"""Measured numbers that README and the pages show, each with the table that contains it."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
_FIGURES = RESULTS / "figures.json"


def figures() -> dict[str, dict[str, str]]:
    """By name: its ``value``, the ``table`` in ``benchmarks/results``, and words of the ``row``."""
    named: dict[str, dict[str, str]] = json.loads(_FIGURES.read_text(encoding="utf-8"))
    return named


def substitutions() -> dict[str, str]:
    """What ``{{ name }}`` becomes on the site."""
    return {name: figure["value"] for name, figure in figures().items()}
