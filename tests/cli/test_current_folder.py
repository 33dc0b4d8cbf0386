"""Files in the current folder are not taken for modules of Python or of a dependency."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from ssn_prune.benchmarking.bench import bench
from ssn_prune.benchmarking.records import BenchOptions

TRAPS = ("resource", "typer", "rich", "torch", "onnx", "numpy", "onnxruntime", "signal", "json")
# Python itself imports these before our first line: what `python -m` can do without.
EARLY = ("ast", "typing", "pathlib", "inspect", "textwrap", "dataclasses", "__future__", "secrets")


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a file for each name, which leaves a trace when it is imported."""
    for name in (*TRAPS, *EARLY):
        trace = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        (tmp_path / f"{name}.py").write_text(trace)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def environment() -> dict[str, str]:
    installed = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(installed)}


def test_the_command_line_imports_none_of_them(traps):
    # -m puts the current folder first, before PYTHONPATH.
    command = [sys.executable, "-m", "ssn_prune", "--help"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "convert" in done.stdout
    assert not (traps / "ran").exists()


def test_a_file_is_measured_without_them(traps, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")  # an empty entry means the current folder
    x = onnx.helper.make_tensor_value_info("x", 1, [4])
    y = onnx.helper.make_tensor_value_info("y", 1, [4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "relu.onnx")
    report = bench({"relu": Path("relu.onnx")}, BenchOptions(runs=2, batch=4))
    assert report.networks[0].memory_bytes is not None
    assert not (traps / "ran").exists()
