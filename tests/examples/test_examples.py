"""The examples run."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from torch_programs import convert_tiny

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_converts_and_verifies(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "convert_own_network.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "1: IN/BN -> InstanceCentre2d (scale into 0)" in printed
    assert "4: BN/BN -> Identity (scale and shift into 3)" in printed
    assert "verified: True" in printed


def test_pruned_weights_train_on(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "train_pruned.py"), run_name="__main__")
    first, last = map(float, re.findall(r"\d\.\d+", capsys.readouterr().out))
    assert last < 0.7 * first


def test_a_torch_program_is_compiled(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_tiny(tmp_path, "--verify", "none")
    script = EXAMPLES / "compile_program.py"
    assert "ssn_prune" not in script.read_text().split("from __future__")[1]
    # Inductor needs a C++ compiler, and 20 s.
    arguments = [str(tmp_path / "m.pt2"), "--backend", "aot_eager", "--runs", "2"]
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")
    assert "compiled with aot_eager" in capsys.readouterr().out
