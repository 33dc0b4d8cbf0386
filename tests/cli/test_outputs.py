"""What a command does with its outputs: special names and files, and faults."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import tiny_network

from ssn_prune import files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files and signals")


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


CIRCLES = {"itself": "circle", "two": "there", "a folder": "circle/model.onnx"}


@pytest.mark.parametrize("option", ["-o", "--report", "CKPT"])
@pytest.mark.parametrize("name", CIRCLES.values(), ids=CIRCLES)
def test_links_that_go_in_circles(checkpoint, tmp_path, option, name):
    for link, to in {"circle": "circle", "there": "back", "back": "there"}.items():
        (tmp_path / link).symlink_to(to)
    path = str(tmp_path / name)
    options = [path, "-o", str(tmp_path / "m.onnx")]
    if option != "CKPT":
        options = [str(checkpoint), option, path]
    shown, _ = fails(tmp_path, 1, "convert", *options, *ARCH, "--force")
    assert "Too many levels of symbolic links" in shown


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_link_into_a_missing_folder_is_known_before_the_work(checkpoint, tmp_path, option):
    (tmp_path / "link").symlink_to(tmp_path / "none" / "x")
    options = [option, str(tmp_path / "link")]
    shown, _ = fails(tmp_path, 1, "convert", str(checkpoint), *ARCH, *options)
    assert "does not exist" in shown
    assert "was written" not in shown


def test_the_demo_refuses_what_it_cannot_replace_before_it_trains(tmp_path):
    fails(tmp_path, 1, "demo", "-o", "-")
    for name in ("digits.pth", "digits.onnx"):
        os.mkfifo(tmp_path / name)
        shown, _ = fails(tmp_path, 1, "demo", "-o", str(tmp_path))
        assert "named pipe" in shown
        (tmp_path / name).unlink()


@pytest.mark.parametrize("command", ["inspect", "convert", "bench", "demo"])
def test_a_current_folder_that_was_removed(checkpoint, tmp_path, monkeypatch, command):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    files = [] if command == "demo" else [str(checkpoint)]
    shown, _ = fails(tmp_path, 1, command, *files)
    assert "the current folder" in shown
    monkeypatch.chdir(tmp_path)


def test_a_full_disk_for_temporary_files_is_named(checkpoint, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    options = ["-o", str(tmp_path / "m.onnx")]
    shown, _ = fails(tmp_path, 1, "convert", str(checkpoint), *ARCH, *options)
    assert "No space left on device" in shown
    assert "TMPDIR" in shown


def test_a_history_that_is_a_fifo_is_not_waited_for(checkpoint, tmp_path):
    os.mkfifo(tmp_path / "gates.npz")
    options = [str(checkpoint), "--history", str(tmp_path / "gates.npz")]
    shown, _ = fails(tmp_path, 1, "inspect", *options)
    assert "no regular file" in shown


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
