"""Probes for another device: what is written, and what its runner makes of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from placed_networks import Small

from ssn_prune import LoadedCheckpoint
from ssn_prune.costs import run
from ssn_prune.costs.emitting import emit_probes
from ssn_prune.costs.matching import require_costs_of
from ssn_prune.costs.reading import read_costs
from ssn_prune.costs.records import FREE
from ssn_prune.errors import ExportError, OutputError


@pytest.fixture(scope="module")
def loaded():
    return LoadedCheckpoint(Small().eval(), Small.input_size, source=None)


@pytest.fixture(scope="module")
def folder(loaded, tmp_path_factory):
    path = tmp_path_factory.mktemp("device") / "probes"
    path.mkdir()  # an empty folder is as good as none
    count = emit_probes(loaded, path)
    assert count == len(list(path.glob("place*.onnx")))
    return path


def runner(folder, *arguments):
    # -I: nothing of this package is on its path.
    command = [sys.executable, "-I", str(folder / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_the_folder_has_every_file_once(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    named = [name for place in manifest["places"] for name in place["files"].values()]
    files = {path.name for path in folder.iterdir()}
    assert files == {*named, "run.py", "manifest.json", "norm-free.onnx"}
    assert len(named) == len(set(named))
    assert all(str(FREE) in place["files"] for place in manifest["places"])
    assert [layer["places"] for layer in manifest["layers"]] == [[0], [1, 2]]
    for name in named:
        onnx.checker.check_model(folder / name)


def test_the_runner_measures_the_costs_of_this_network(folder, loaded, tmp_path):
    done = runner(folder, "--runs", "1", "--output", str(tmp_path / "c.json"), "--device", "board")
    assert done.returncode == 0, done.stderr
    costs = read_costs(tmp_path / "c.json")
    require_costs_of(costs, loaded)
    assert costs.processor == "board"
    assert costs.provider == "CPUExecutionProvider"
    assert costs.norm_free_ms > 0
    assert [entry.milliseconds for entry in costs.layers if entry.pair == FREE] == [0] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_the_runner_refuses_a_provider_that_is_not_there(folder, tmp_path):
    done = runner(folder, "--provider", "abacus", "--output", str(tmp_path / "c.json"))
    assert done.returncode != 0
    assert "there is no provider abacus" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_runner_finds_out_before_the_work_what_is_missing(folder, tmp_path):
    done = runner(folder, "--output", str(tmp_path / "missing" / "c.json"))
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    alone = tmp_path / "run.py"
    alone.write_bytes((folder / "run.py").read_bytes())
    done = runner(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("manifest.json, which belongs next to")


def test_the_runner_needs_no_more_than_it_says():
    text = Path(run.__file__).read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    tree = ast.parse(text, feature_version=(3, 8))
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module.split(".")[0])
    assert roots - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def test_a_folder_with_something_in_it_is_left_alone(loaded, tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(OutputError, match="exists already"):
        emit_probes(loaded, tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        emit_probes(loaded, tmp_path / "mine")
    with pytest.raises(OutputError, match="cannot be written"):
        emit_probes(loaded, tmp_path / "mine" / "inner")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failure_leaves_nothing(loaded, tmp_path, monkeypatch):
    from ssn_prune.costs import emitting

    def fails(*arguments, **options):
        raise ExportError("no")

    monkeypatch.setattr(emitting, "export_places", fails)
    with pytest.raises(ExportError):
        emit_probes(loaded, tmp_path / "probes")
    assert not list(tmp_path.iterdir())
