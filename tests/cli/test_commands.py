"""The commands on good input: what they print, write and return."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from helpers import reference_layout, tiny_network
from typer.testing import CliRunner, Result

from ssn_prune import __version__
from ssn_prune.cli.app import app
from ssn_prune.reporting.reading import read_run

ARCH = ["--arch", "helpers:TinyNetwork"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3, "state_dict": reference_layout(tiny_network())}, path)
    return path


@pytest.fixture
def soft(tmp_path: Path) -> Path:
    model = tiny_network()
    with torch.no_grad():
        model.sn1.mean_fixed.zero_()
        model.sn1.mean_weight.copy_(torch.tensor([0.2, 0.1, 0.6]))
        model.sn1.radius.fill_(0.5)
    path = tmp_path / "soft.pth"
    torch.save(model.state_dict(), path)
    return path


def test_convert_prints_tables_and_writes_the_file(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    result = run("convert", checkpoint, *ARCH, "-o", target)
    assert result.exit_code == 0, result.output
    onnx.checker.check_model(target, full_check=True)
    for text in ("sn1", "IN", "conv1", "InstanceCentre2d", "passed", "ONNX nodes", str(target)):
        assert text in result.stdout
    assert result.stderr == ""


def test_the_default_target_is_next_to_the_checkpoint(checkpoint: Path) -> None:
    assert run("convert", checkpoint, *ARCH, "--quiet").stdout == ""
    assert checkpoint.with_suffix(".onnx").is_file()


def test_json_and_report_are_the_same_document(checkpoint: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = run(
        "convert", checkpoint, *ARCH, "-o", tmp_path / "m.onnx", "--json", "--report", report
    )
    document = json.loads(result.stdout)
    assert document == json.loads(report.read_text())
    assert document["schema_version"] == 3
    assert document["source"]["facts"] == {"epoch": 3}
    assert [layer["fold"] for layer in document["layers"]] == ["scale", "scale_and_shift"]
    assert document["onnx"]["nodes"] == sum(document["onnx"]["operators"].values())
    assert document["verification"]["algebra"]["passed"] is True
    assert document["before"]["parameters"] > 0
    assert sum(document["after"]["operators"].values()) < sum(
        document["before"]["operators"].values()
    )


def test_soft_gates_are_refused_with_a_table(soft: Path, tmp_path: Path) -> None:
    result = run("convert", soft, *ARCH, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 4
    assert "0.5000" in result.stderr
    assert "--on-unconverged exact" in result.stderr
    assert "IN, LN, BN" in result.stderr
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("mode", ["exact", "argmax"])
def test_soft_gates_convert_on_request(soft: Path, tmp_path: Path, mode: str) -> None:
    target = tmp_path / "m.onnx"
    result = run("convert", soft, *ARCH, "-o", target, "--on-unconverged", mode)
    assert result.exit_code == 0, result.output
    assert target.is_file()
    assert ("rounded the gates of 1 layer:" in result.stdout) == (mode == "argmax")


def test_inspect_needs_no_architecture_and_writes_nothing(soft: Path) -> None:
    result = run("inspect", soft)
    assert result.exit_code == 0
    assert "2 layers, 1 with gates that are not one-hot" in result.stdout
    document = json.loads(run("inspect", soft, "--json").stdout)
    assert [layer["converged"] for layer in document["layers"]] == [False, True]
    assert document["layers"][1]["var"]["choice"] == "BN"
    assert list(soft.parent.iterdir()) == [soft]


def test_verify_accepts_its_own_file_and_refuses_another(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    assert run("convert", checkpoint, *ARCH, "-o", target, "-q").exit_code == 0
    good = run("verify", checkpoint, target, *ARCH)
    assert good.exit_code == 0
    assert good.stdout.count("passed") == 2
    other = tmp_path / "other.pth"
    torch.save(tiny_network(seed=7).state_dict(), other)
    bad = run("verify", other, target, *ARCH)
    assert bad.exit_code == 3
    assert "m.onnx was made from net.pth, not from this other.pth" in bad.stderr
    assert target.is_file()


def test_force_replaces_and_no_force_keeps(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"mine")
    assert run("convert", checkpoint, *ARCH, "-o", target).exit_code == 1
    assert target.read_bytes() == b"mine"
    assert run("convert", checkpoint, *ARCH, "-o", target, "--force", "-q").exit_code == 0
    onnx.checker.check_model(target)


def test_the_demo_trains_converts_and_compares(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    result = run("demo", "-o", folder, "--epochs", 2, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["same_answers"] == 360
    assert document["accuracy_before"] == document["accuracy_after"]
    assert document["accuracy_before"] > 0.3
    assert all(layer["converged"] for layer in document["report"]["layers"])
    assert sorted(p.name for p in folder.iterdir()) == ["digits.html", "digits.onnx", "digits.pth"]
    assert read_run(folder / "digits.html").document() == document["report"]
    assert len(document["report"]["history"]) == 20
    again = run("convert", folder / "digits.pth", "-o", tmp_path / "again.onnx", "-q")
    assert again.exit_code == 0, again.output


def test_version_and_help() -> None:
    assert run("--version").stdout.strip() == __version__
    for command in ("convert", "inspect", "verify", "demo"):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "--json" in result.stdout
