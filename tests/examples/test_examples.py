"""The examples run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_converts_and_verifies(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "convert_own_network.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "1: IN/BN -> InstanceCentre2d (scale into 0)" in printed
    assert "4: BN/BN -> Identity (scale and shift into 3)" in printed
    assert "verified: True" in printed
