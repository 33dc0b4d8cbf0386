"""Conditions on sizes, which a tracer may write at any length, as people see them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ssn_prune.console.totals import capture_lines
from ssn_prune.reporting.view.graph import _notes


def test_a_long_condition_is_shortened() -> None:
    report: Any = SimpleNamespace(
        capture_error=None,
        size_conditions=("x.shape[2] == " + "2 * " * 200,),
        onnx=None,
        exported=None,
    )
    (line,) = capture_lines(report)
    (note,) = _notes(SimpleNamespace(report=report))  # type: ignore[arg-type]
    for text in (line, note):
        assert "x.shape[2] == 2 * " in text
        assert "..." in text
        assert len(text) < 200
