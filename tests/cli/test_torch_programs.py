"""convert, verify and bench with torch programs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import tiny_network
from torch_programs import convert_tiny, plant

from ssn_prune import VerificationError, load_checkpoint
from ssn_prune.cli.options import Formats
from ssn_prune.conversion import ConvertOptions, verify_file
from ssn_prune.export_formats import EXPORT_FORMATS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With net.pth, m.pt2, run.json and the checkpoint of another network."""
    path = tmp_path_factory.mktemp("converted")
    convert_tiny(path)
    torch.save(tiny_network(seed=1).state_dict(), path / "other.pth")
    return path


def test_the_report_describes_the_file(folder: Path) -> None:
    found = json.loads((folder / "run.json").read_text())
    assert (found["format"], found["onnx"]) == ("pt2", None)
    exported = found["exported"]
    assert exported["torch_version"] == torch.__version__
    assert exported["bytes"] == (folder / "m.pt2").stat().st_size
    assert exported["inputs"] == {"x": ["batch", 1, 8, 8]}
    assert found["verification"]["rounding"]["runtime"] == "torch"
    assert found["verification"]["rounding"]["passed"]
    assert (
        found["after"]["operators"]["conv2d"] == exported["operators"]["aten.conv2d.default"] == 2
    )


def test_the_format_chooses_the_default_name(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "net.pth", tmp_path)
    command = ("convert", str(tmp_path / "net.pth"), *ARCH, "--format", "pt2", "--verify", "none")
    result = run_cli(*command)
    assert result.exit_code == 0, result.stderr
    assert "aten.conv2d.default" in result.stdout
    assert (tmp_path / "net.pt2").read_bytes() == (folder / "m.pt2").read_bytes()


@pytest.mark.parametrize("name", ["m.onnx", "m", "m.bin"])
def test_a_name_of_another_format_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    command = ("convert", str(folder / "net.pth"), *ARCH, "-o", str(tmp_path / name))
    text, error = fails(tmp_path, 2, *command, "--format", "pt2")
    assert "m.pt2" in error["hint"]
    assert "--format" in text


def test_verify_opens_the_file_of_the_report_in_a_process_of_its_own(folder: Path) -> None:
    command = ("verify", str(folder / "net.pth"), str(folder / "m.pt2"), *ARCH, "--json")
    result = run_cli(*command, "--from-report", str(folder / "run.json"))
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["verification"]["rounding"]
    assert (found["runtime"], found["provider"], found["passed"]) == ("torch", None, True)


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_a_program_is_not_opened_without_trust(command: str, folder: Path, tmp_path: Path) -> None:
    plant(folder / "m.pt2", tmp_path / "m.pt2", tmp_path / "canary")
    before = [str(folder / "net.pth")] if command == "verify" else []
    arguments = [command, *before, str(tmp_path / "m.pt2"), *ARCH]
    _, error = fails(tmp_path, 1, *arguments)
    assert error["code"] == "untrusted_file"
    _, error = fails(tmp_path, 1, *arguments, "--from-report", str(folder / "run.json"))
    assert error["code"] == "untrusted_file"
    assert "not the torch program of the report" in error["problem"]
    assert not (tmp_path / "canary").exists()


def test_a_program_of_another_checkpoint_is_named(folder: Path) -> None:
    loaded = load_checkpoint(folder / "other.pth", arch="helpers:TinyNetwork")
    options = ConvertOptions(algebra=False)
    with pytest.raises(VerificationError, match=r"was made from net\.pth"):
        verify_file(loaded, folder / "m.pt2", options, trust_pt2=True)


def test_bench_measures_both_formats_side_by_side(folder: Path, tmp_path: Path) -> None:
    onnx = tmp_path / "m.onnx"
    convert = ("convert", str(folder / "net.pth"), *ARCH, "-o", str(onnx), "--verify", "none")
    assert run_cli(*convert).exit_code == 0
    command = ("bench", str(onnx), str(folder / "m.pt2"), "--trust-pt2", "--runs", "2")
    result = run_cli(*command, "--no-profile", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    first, second = found["networks"]
    assert first["runtime"].startswith("ONNX Runtime ")
    assert second["runtime"] == f"torch {torch.__version__}"
    assert second["file_bytes"] == (folder / "m.pt2").stat().st_size
    assert second["memory_bytes"] is None or second["memory_bytes"] > 0


def test_what_only_onnx_files_can_do_is_refused(folder: Path, tmp_path: Path) -> None:
    verify = ("verify", str(folder / "net.pth"), str(folder / "m.pt2"), *ARCH, "--trust-pt2")
    _, error = fails(tmp_path, 2, *verify, "--with", "openvino")
    assert "other runtimes read ONNX files" in error["problem"]
    convert = ("convert", str(folder / "net.pth"), *ARCH, "-o", str(tmp_path / "m.pt2"))
    _, error = fails(tmp_path, 2, *convert, "--opset", "17")
    assert error["hint"].startswith("leave --opset out")
    assert os.listdir(tmp_path) == []


def test_a_fixed_batch_is_found_again(tmp_path: Path) -> None:
    convert_tiny(tmp_path, "--static-batch", "3", "--verify", "none")
    command = ("verify", str(tmp_path / "net.pth"), str(tmp_path / "m.pt2"), *ARCH, "--trust-pt2")
    result = run_cli(*command, "--verify", "rounding", "--json")
    assert result.exit_code == 0, result.stderr
    assert set(json.loads(result.stdout)["verification"]["rounding"]["batch_sizes"]) == {3}


def test_the_option_names_every_format() -> None:
    assert [entry.value for entry in Formats] == [entry.name for entry in EXPORT_FORMATS]
    assert all(entry.suffix == f".{entry.name}" for entry in EXPORT_FORMATS)
