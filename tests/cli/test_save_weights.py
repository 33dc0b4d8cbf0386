"""convert --save-weights: a second file, complete or absent like the first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import TinyNetwork, tiny_network

from ssn_prune import files, load_pruned, prune


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save(tiny_network().state_dict(), path)
    return path


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_weights_are_saved_beside_the_exported_file(
    format: str, checkpoint: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "w.safetensors"
    command = ("convert", str(checkpoint), *ARCH, "--format", format, "--json")
    result = run_cli(*command, "--save-weights", str(weights))
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["weights"]
    assert found["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (found["file_name"], found["bytes"]) == ("w.safetensors", weights.stat().st_size)
    checkpoint.unlink()
    x = torch.randn(3, 1, 12, 9)  # any size that the code takes
    with torch.no_grad():
        expected = prune(tiny_network(), torch.randn(2, 1, 8, 8)).model(x)
        found = load_pruned(weights, TinyNetwork)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # centred on other examples


def test_they_are_absent_where_the_conversion_fails(checkpoint: Path, tmp_path: Path) -> None:
    weights = ("--save-weights", str(tmp_path / "w.safetensors"))
    fails(tmp_path, 2, "convert", str(checkpoint), *ARCH, *weights, "--static-batch", "2",
          "--dynamic", "spatial")  # fmt: skip
    fails(tmp_path, 1, "convert", str(checkpoint), "--arch", "resnetv1ssn18", *weights)


@pytest.mark.parametrize("other", ["net.pth", "net.onnx", "run.json"])
def test_no_other_file_is_replaced(other: str, checkpoint: Path, tmp_path: Path) -> None:
    command = ("convert", str(checkpoint), *ARCH, "--report", str(tmp_path / "run.json"))
    _, error = fails(tmp_path, 1, *command, "--save-weights", str(tmp_path / other))
    assert error["code"] == "output_not_written"
    assert "--save-weights would replace" in error["problem"]


def test_an_existing_file_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_text("mine")
    command = ("convert", str(checkpoint), *ARCH, "--save-weights", str(tmp_path / "w.safetensors"))
    _, error = fails(tmp_path, 1, *command)
    assert "--force" in error["hint"]


@pytest.mark.parametrize("existed", [False, True])
def test_weights_are_put_back_if_the_model_cannot_be_moved(
    existed: bool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both appear, or neither: the target of the model becomes a folder meanwhile."""
    model, weights = tmp_path / "m.onnx", tmp_path / "w.safetensors"
    if existed:
        weights.write_bytes(b"old")
    publish = files._publish

    def blocked(folder: Path, target: Path) -> None:
        if target == model:
            model.mkdir()
        publish(folder, target)

    monkeypatch.setattr(files, "_publish", blocked)
    arguments = ["convert", str(checkpoint), *ARCH, "-o", str(model), "-f"]
    result = run_cli(*arguments, "--save-weights", str(weights))
    assert result.exit_code == 1
    assert "is a directory" in result.stderr
    found = {path.name for path in tmp_path.iterdir()} - {"net.pth", "m.onnx"}
    assert found == ({"w.safetensors"} if existed else set())
    assert not existed or weights.read_bytes() == b"old"
