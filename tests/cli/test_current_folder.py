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


def environment(entry: str | None = None) -> dict[str, str]:
    installed = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    before = [] if entry is None else [entry]
    return os.environ | {"PYTHONPATH": os.pathsep.join(before + installed)}


CONSOLE = "from ssn_prune.__main__ import main; main()"  # what an installed ssn-prune runs


@pytest.mark.parametrize("entry", [None, ""], ids=["no entry", "empty entry"])
@pytest.mark.parametrize(
    "start", [["-m", "ssn_prune"], ["-P", "-m", "ssn_prune"], ["-Pc", CONSOLE]]
)
def test_the_command_line_imports_none_of_them(traps, start, entry):
    # -m puts the current folder first, before PYTHONPATH, whose empty entry is the same folder.
    if entry is not None:  # Python itself, before our first line
        for name in EARLY:
            (traps / f"{name}.py").unlink()
    command = [sys.executable, *start, "--help"]
    given = environment(entry)
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "convert" in done.stdout
    assert not (traps / "ran").exists()


def test_a_folder_that_PYTHONPATH_names_is_searched(tmp_path, monkeypatch):
    (tmp_path / "typer.py").write_text("raise SystemExit('found')")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-P", "-m", "ssn_prune", "--help"]
    given = environment(str(tmp_path))
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "found"


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
