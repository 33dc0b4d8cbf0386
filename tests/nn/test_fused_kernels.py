"""Every kernel in Triton's interpreter, in a process of its own: tests/fused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
EXPECTED = 150


def test_kernels_agree_with_the_formulas_in_the_interpreter() -> None:
    pytest.importorskip("triton", reason="Triton comes with torch on Linux only")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "fused"]
    found = subprocess.run(
        command,
        cwd=TESTS,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    passed = re.search(r"(\d+) passed", found.stdout)
    assert passed is not None
    assert int(passed[1]) >= EXPECTED
    assert "skipped" not in found.stdout
