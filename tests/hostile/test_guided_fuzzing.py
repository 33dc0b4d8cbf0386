"""Coverage-guided fuzzing of each part that reads bytes of a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("guided_fuzzing.py")
SECONDS = 8


def fuzz(target: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # A process inherits the peak memory of the one that starts it, which libFuzzer would count.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, str(SCRIPT), target, "-seed=1"]
    command += options
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=6 * SECONDS
    )


@pytest.mark.parametrize("target", ["pickle", "zip", "safetensors"])
def test_every_input_gives_a_result_or_a_typed_error(tmp_path, target):
    done = fuzz(target, tmp_path, f"-max_total_time={SECONDS}")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed
    assert int(executed[1]) > 3_000


def test_a_planted_fault_is_found(tmp_path):
    done = fuzz("planted", tmp_path, "-runs=2000000", f"-max_total_time={SECONDS}")
    assert done.returncode != 0
    assert "ValueError: planted" in done.stdout + done.stderr
