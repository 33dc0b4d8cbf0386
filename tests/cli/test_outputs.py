"""What a command does with its outputs: special names and files, faults, and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import tiny_network

from ssn_prune import files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files and signals")
WAITS = """
import pathlib, time
from helpers import TinyNetwork

class Waits(TinyNetwork):
    def forward(self, x):
        pathlib.Path("ready").touch()
        time.sleep(60)
        return super().forward(x)
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save(tiny_network().state_dict(), path)
    return path


@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.parametrize("text", ["-", "new/", ""])
def test_standard_output_and_folders_are_refused(checkpoint, tmp_path, option, text):
    shown, _ = fails(tmp_path, 1, "convert", str(checkpoint), *ARCH, option, text)
    assert "folder" in shown or "standard output" in shown


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_fifo_stays_one(checkpoint, tmp_path, option):
    fifo = tmp_path / "pipe.onnx"
    os.mkfifo(fifo)
    shown, _ = fails(tmp_path, 1, "convert", str(checkpoint), *ARCH, option, str(fifo), "--force")
    assert "named pipe" in shown
    assert fifo.is_fifo()


def test_a_report_that_fails_at_the_end_is_said_with_both_names(checkpoint, tmp_path, monkeypatch):
    target, report = tmp_path / "m.onnx", tmp_path / "r.json"
    replace = Path.replace

    def full(path, to):
        if Path(to).name == "r.json":
            raise OSError(28, "No space left on device")
        return replace(path, to)

    monkeypatch.setattr(files.Path, "replace", full)
    options = [*ARCH, "-o", str(target), "--report", str(report), "--json"]
    result = run_cli("convert", str(checkpoint), *options)
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert str(target) in error["problem"]
    assert str(report) in error["problem"]
    assert error["found"] == "No space left on device"
    assert target.is_file()
    assert not report.exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_command_after_clean_up(checkpoint, tmp_path, name, code):
    (tmp_path / "waits.py").write_text(WAITS)
    paths = [str(Path(__file__).parents[1] / "support"), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "ssn_prune", "convert", "net.pth", "--arch", "waits:Waits"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    assert list(tmp_path.glob(".ssn_prune.*.tmp"))
    process.send_signal(getattr(signal, name))
    _, shown = process.communicate(timeout=30)
    assert process.returncode == code
    assert shown == "error: interrupted; no file is half written\n"
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix) == ["net.pth", "waits.py"]


def test_a_signal_during_the_imports_ends_it_too(tmp_path):
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from ssn_prune.__main__ import main\n"
        "main()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
