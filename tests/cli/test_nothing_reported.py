"""What commands import keeps no files of its own about the user, and has nobody to report to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from helpers import tiny_network

SUPPORT = Path(__file__).parents[1] / "support"
PACKAGE = Path(__file__).parents[2]


def test_home_and_temporary_folder_stay_empty(tmp_path: Path) -> None:
    torch.save(tiny_network().state_dict(), tmp_path / "net.pth")
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    environment = {name: os.environ[name] for name in os.environ if "INDUCTOR" not in name}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    environment |= {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": os.pathsep.join(map(str, (PACKAGE, SUPPORT))),
    }
    for line in (
        "convert net.pth --arch helpers:tiny_network -o m.onnx",
        "verify net.pth m.onnx --arch helpers:tiny_network",
        "bench m.onnx --runs 2",
    ):
        command = [sys.executable, "-P", "-m", "ssn_prune", *line.split(), "--quiet"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert list((tmp_path / "home").iterdir()) == []
    (made,) = (tmp_path / "temporary").iterdir()
    assert made.name.startswith("torchinductor")  # an import of torch makes it
    assert list(made.iterdir()) == []
