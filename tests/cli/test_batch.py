"""Several checkpoints in one command: one that fails does not stop the others."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import tiny_network

from ssn_prune.batch.running import Result

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes find the network of the tests, too."""
    paths = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    nets = tmp_path / "nets"
    (nets / "deep").mkdir(parents=True)
    torch.save(tiny_network().state_dict(), nets / "good.pth")
    soft = tiny_network()
    with torch.no_grad():
        soft.sn1.mean_fixed.zero_()
        soft.sn1.mean_weight.copy_(torch.tensor([0.2, 0.1, 0.6]))
        soft.sn1.radius.fill_(0.5)
    torch.save(soft.state_dict(), nets / "deep" / "soft.pth")
    (nets / "bad.pth").write_bytes(b"no checkpoint")
    return nets


def test_every_checkpoint_is_tried(folder: Path, tmp_path: Path) -> None:
    out, summary = tmp_path / "out", tmp_path / "all.csv"
    arguments = ["convert", str(folder), *ARCH, "-r", "-j", "2", "-o", str(out)]
    result = run_cli(*arguments, "--summary", str(summary), "--report", ".json", "--json")
    assert result.exit_code == 4, result.stderr
    document = json.loads(result.stdout)
    assert document["exit_code"] == 4
    found = {run["name"]: run["exit_code"] for run in document["checkpoints"]}
    assert found == {"bad.pth": 1, "deep/soft.pth": 4, "good.pth": 0}
    assert "not a checkpoint" in document["checkpoints"][0]["problem"]
    assert len(document["checkpoints"][1]["run"]["error"]["layers"]) == 1
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert written == ["good.json", "good.onnx"]
    onnx.checker.check_model(out / "good.onnx")
    assert "bad.pth: " in result.stderr
    assert "deep/soft.pth: 1 of 2 layers" in result.stderr
    rows = list(csv.DictReader(io.StringIO(summary.read_text())))
    assert [row["checkpoint"] for row in rows] == ["bad.pth", "deep/soft.pth", "good.pth"]
    assert [row["exit_code"] for row in rows] == ["1", "4", "0"]
    assert rows[2]["pairs"] == "1 IN/BN, 1 BN/BN"
    assert int(rows[2]["onnx_nodes"]) == len(onnx.load(out / "good.onnx").graph.node)


def test_what_cannot_be(folder: Path, tmp_path: Path) -> None:
    good = str(folder / "good.pth")
    both = ["convert", good, str(folder / "bad.pth"), *ARCH]
    for code, more, found in (
        (1, ["-o", str(tmp_path / "one.onnx")], "go into a folder"),
        (1, ["-o", good], "go into a folder"),
        (1, ["-o", f"{good}/new"], "cannot be made"),
        (2, ["--dry-run", "--summary", str(tmp_path / "s.csv")], "--dry-run writes nothing"),
        (2, ["--report", str(tmp_path / "r.html")], "--report names one file"),
        (2, ["--summary", str(tmp_path / "s.json")], "--summary is a CSV file"),
        (2, ["--history", str(tmp_path / "h.npz")], "--history belongs to one checkpoint"),
    ):
        message, _ = fails(tmp_path, code, *both, *more)
        assert found in message
    (tmp_path / "empty").mkdir()
    message, _ = fails(tmp_path, 2, "convert", str(tmp_path / "empty"))
    assert "--recursive" in message


def test_an_interrupt_ends_all_of_them(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.pth").unlink()
    before = sorted(folder.rglob("*"))
    command = [sys.executable, "-m", "ssn_prune", "convert", str(folder), *ARCH, "-j", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted" in told
    assert sorted(folder.rglob("*")) == before


def test_what_ended_before_an_interrupt_is_told(folder, tmp_path, monkeypatch) -> None:
    def interrupted(jobs, _command_of, _at_once, started, finished):
        started(jobs[0])
        failed = {"error": {"problem": "no checkpoint"}}
        finished(Result(jobs[0], 1, failed, 2.0, "Traceback of it"))
        raise KeyboardInterrupt

    monkeypatch.setattr("ssn_prune.batch.running.run_jobs", interrupted)
    command = ("convert", str(folder), *ARCH, "-r", "--summary", str(tmp_path / "all.csv"))
    result = run_cli(*command, "--debug")
    assert result.exit_code == 130
    assert "bad.pth" in result.stdout
    assert "interrupted: 1 of 3 checkpoints ended" in result.stdout
    assert "Traceback of it" in result.stderr
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))) == 1


def test_a_dry_run_makes_no_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.pth").unlink()
    before = sorted(tmp_path.rglob("*"))
    result = run_cli("convert", str(folder), *ARCH, "-o", str(tmp_path / "new"), "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "the checkpoint can be converted; nothing was written" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before
