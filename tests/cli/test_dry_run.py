"""A dry run shows what a conversion would write, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_checks import ARCH, contents, fails, run_cli
from helpers import tiny_network


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(tiny_network().state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_its_nodes_and_plan_are_those_of_the_conversion(checkpoint: Path) -> None:
    before = contents(checkpoint.parent)
    arguments = ["convert", str(checkpoint), *ARCH, "--json"]
    planned = json.loads(run_cli(*arguments, "--dry-run").stdout)
    assert contents(checkpoint.parent) == before
    written = json.loads(run_cli(*arguments).stdout)
    assert planned["verification"] is None
    for field in ("nodes", "operators", "inputs", "outputs", "types", "passes"):
        assert planned["onnx"][field] == written["onnx"][field]
    assert planned["layers"] == written["layers"]
    assert planned["before"] == written["before"]
    assert planned["after"] == written["after"]


def test_an_existing_file_is_no_obstacle(checkpoint: Path) -> None:
    checkpoint.with_suffix(".onnx").write_bytes(b"mine")
    told = run_cli("convert", str(checkpoint), *ARCH, "--dry-run", "--format", "onnx")
    assert told.exit_code == 0, told.stderr
    assert "nothing was written" in told.stdout
    assert "net.onnx exists: converting needs --force" in told.stdout.replace("\n", " ")
    assert "ONNX nodes" in told.stdout
    assert "conv1" in told.stdout
    assert checkpoint.with_suffix(".onnx").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "option", [["--report", "r.json"], ["--save-weights", "w.safetensors"], ["--bench"]]
)
def test_what_needs_a_file_is_refused(option: list[str], checkpoint: Path) -> None:
    arguments = ["convert", str(checkpoint), *ARCH, "--dry-run", *option]
    message, _ = fails(checkpoint.parent, 2, *arguments)
    assert f"leave {option[0]} out" in message
