"""The library's texts, and the arguments that they name."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import ssn_prune
from ssn_prune.batch.jobs import jobs_of
from ssn_prune.benchmarking.records import BenchOptions
from ssn_prune.cli.searching import run_search
from ssn_prune.costs.matching import require_costs_of

PACKAGE = Path(ssn_prune.__file__).parent
RUNNER = Path("costs", "run.py")
"""A program for other devices, with its own command line."""


def texts() -> Iterator[tuple[str, str]]:
    """Every string literal of the library with its place; formatted values become 1."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] in ("cli", "console") or place == RUNNER:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "1" for p in node.values]
                yield f"{place}:{node.lineno}", "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{place}:{node.lineno}", node.value


def named_arguments() -> dict[str, str]:
    """Arguments that texts name in backticks, such as ```force=True```, each with a place."""
    pattern = r"(?<!`)`(\w+)=[^`]*`(?!`)"
    return {name: place for place, text in texts() for name in re.findall(pattern, text)}


def parameters_of(*functions: object) -> set[str]:
    return {name for function in functions for name in inspect.signature(function).parameters}


def converting() -> set[str]:
    """Arguments of the functions that the commands call."""
    records = (
        *(ssn_prune.ConvertOptions, ssn_prune.ExportOptions, BenchOptions),
        ssn_prune.SearchOptions,
    )
    names = {field.name for record in records for field in dataclasses.fields(record)}
    functions = (
        *(ssn_prune.load_checkpoint, ssn_prune.convert, ssn_prune.verify, jobs_of),
        *(ssn_prune.accuracy_on_images, ssn_prune.search, require_costs_of, run_search),
    )
    return names | parameters_of(*functions)
