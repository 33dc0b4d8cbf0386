"""Documents of others: records, or an error that names the field."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from report_runs import RESNET18, bench, history, run

from ssn_prune.errors import ReportError
from ssn_prune.report import ConversionReport
from ssn_prune.reporting.decoding import decoded
from ssn_prune.reporting.run import Run, run_of

FULL = Run(run().report, bench(), history())


def document() -> Any:
    return json.loads(json.dumps(FULL.document()))


def test_a_document_gives_the_run_that_it_was_made_of() -> None:
    assert run_of(document()) == FULL
    assert run_of(document()).document() == document()


def test_a_short_document_gives_the_same_run() -> None:
    short = FULL.document(defaults=False)
    assert {"aliases", "on_simplex"}.isdisjoint(short["layers"][0])
    assert len(json.dumps(short)) < len(json.dumps(document()))
    assert run_of(short) == FULL


def test_a_number_that_was_not_finite_is_not_a_number() -> None:
    changed = document()
    changed["verification"]["rounding"]["max_error"] = None
    assert math.isnan(run_of(changed).report.verification.rounding.max_error)


def test_fields_of_later_versions_are_left_out_and_those_that_came_later_have_defaults() -> None:
    changed = document() | {"later": {"x": 1}}
    for name in ("command", "options", "environment", "steps", "bench", "history"):
        del changed[name]
    changed["schema_version"] = 2
    found = run_of(changed)
    assert (found.report.command, found.report.options, found.bench) == ((), {}, None)
    assert "later" not in found.document()


def put(*path: str | int) -> Callable[[Any, Any], None]:
    def change(changed: Any, value: Any) -> None:
        for part in path[:-1]:
            changed = changed[part]
        changed[path[-1]] = value

    return change


CHANGES = {
    "layers": put("layers"),
    "layers[0]": put("layers", 0),
    "layers[3].name": put("layers", 3, "name"),
    "layers[3].mean": put("layers", 3, "mean"),
    "layers[3].mean.ratios": put("layers", 3, "mean", "ratios"),
    "layers[3].mean.ratios.IN": put("layers", 3, "mean", "ratios", "IN"),
    "layers[3].converged": put("layers", 3, "converged"),
    "source": put("source"),
    "source.facts.epoch": put("source", "facts", "epoch"),
    "onnx.nodes": put("onnx", "nodes"),
    "onnx.inputs": put("onnx", "inputs"),
    "onnx.inputs.input[0]": put("onnx", "inputs", "input", 0),
    "verification.rounding.layers[2]": put("verification", "rounding", "layers", 2),
    "verification.rounding.layers[2].error": put("verification", "rounding", "layers", 2, "error"),
    "verification.rounding.batch_sizes": put("verification", "rounding", "batch_sizes"),
    "verification.adoption.reason": put("verification", "adoption", "reason"),
    "bench.networks[1].median_ms": put("bench", "networks", 1, "median_ms"),
    "history[0].choice": put("history", 0, "choice"),
    "steps[0]": put("steps", 0),
}
WRONG: list[Any] = [{}, [[]], True, 10**30, -(10**400), "x"]
FITS = {
    ("layers[3].name", "x"),
    ("layers[3].converged", "True"),
    ("layers[3].mean.ratios", "{}"),
    ("source.facts.epoch", "x"),
    ("onnx.inputs", "{}"),
    ("onnx.inputs.input[0]", "x"),
}


@pytest.mark.parametrize("place", CHANGES)
@pytest.mark.parametrize("value", WRONG, ids=lambda value: str(value)[:9])
def test_a_field_of_another_kind_is_named(place: str, value: Any) -> None:
    changed = copy.deepcopy(document())
    CHANGES[place](changed, value)
    big = isinstance(value, int) and value == 10**30
    if (place, str(value)) in FITS or (big and place.endswith(("IN", "error", "_ms", "epoch"))):
        run_of(changed)
        return
    with pytest.raises(ReportError) as caught:
        run_of(changed)
    error = caught.value
    assert place in error.problem
    assert None not in (error.expected, error.found, error.hint)
    assert len(str(error)) < 600


@pytest.mark.parametrize("field", ["name", "kind", "mean", "radius"])
def test_a_missing_field_is_named(field: str) -> None:
    changed = document()
    del changed["layers"][5][field]
    with pytest.raises(ReportError, match=rf"lacks the field layers\[5\].{field}"):
        run_of(changed)


@pytest.mark.parametrize("other", [None, 7, "text", [], {}, {"schema_version": 3}, {"error": {}}])
def test_another_document_is_refused(other: Any) -> None:
    with pytest.raises(ReportError, match="not the report of a conversion"):
        run_of(other)


@pytest.mark.parametrize("version", [0, 1, 99, True])
def test_another_schema_is_refused_with_the_known_ones(version: int) -> None:
    with pytest.raises(ReportError) as caught:
        run_of(document() | {"schema_version": version})
    assert "2 to 3" in str(caught.value.expected)


def test_a_record_by_itself() -> None:
    assert decoded(ConversionReport, document()).layers[1].name == RESNET18[1]
