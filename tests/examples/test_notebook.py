"""The notebook runs, cell by cell, in a folder of its own."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from training_samples import EXAMPLES

NOTEBOOK = EXAMPLES / "quickstart.ipynb"


@pytest.fixture(scope="module")
def book():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_stored_without_outputs(book):
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    for target in re.findall(r"\]\((\.\./[^)#]+)", "".join(cell.source for cell in book.cells)):
        assert (EXAMPLES / target).is_file()


def test_the_notebook_runs(book, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    client = NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = "".join(
        output.get("text") or str(output.get("data", {}).get("text/plain"))
        for cell in book.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert int(re.search(r"(\d+) of 360 test images are right", shown)[1]) > 300
    assert shown.count("passed") >= 4  # the checks of two conversions
    assert "loading" not in shown  # no spinner, one line below the other
    assert float(re.findall(r"np\.float64\((0\.\d+)\)", shown)[-1]) > 0.8
    assert "IFrame" in shown
    made = {path.name for path in tmp_path.iterdir()}
    assert {"digits.onnx", "lean.onnx", "lean.html"} <= made
