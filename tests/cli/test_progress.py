"""Every long step is reported, and shown while it runs."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
from helpers import tiny_network

from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.console import Output
from ssn_prune.conversion import ConvertOptions, convert, verify_file
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output

CHECKS = [
    "verifying: running the original in float64",
    "verifying every layer in float64",
    "verifying: running the original in float32",
    "verifying: running the file",
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_steps_are_shown_while_the_tracer_output_is_suppressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    out = Output()
    with out.steps() as step, suppress_tracer_output():
        step("translating")
        deadline = time.monotonic() + 10
        while "translating" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "translating" in terminal.getvalue()


def test_forced_colours_make_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Output().steps() as step:
        step("translating")
        time.sleep(0.3)  # three redrawings
    assert stream.getvalue() == ""


def test_a_conversion_and_a_verification_report_every_step(tmp_path: Path) -> None:
    source = Source("c.pth", "0", "zip", None, (), "", 0, "tiny", {}, {})
    loaded = LoadedCheckpoint(tiny_network().eval(), (1, 8, 8), source)
    steps: list[str] = []
    convert(loaded, tmp_path / "m.onnx", progress=steps.append)
    begin = ["pruning"]
    export = ["capturing the pruned network", "translating to ONNX", "writing"]
    assert steps == [*begin, *export, *CHECKS]
    steps.clear()
    verify_file(loaded, tmp_path / "m.onnx", ConvertOptions(), steps.append)
    assert steps == [*begin, *CHECKS]
