"""With --json, stdout is one document, whatever the user's code writes and from wherever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_checks import run_cli
from helpers import tiny_network

from ssn_prune.cli.exit_codes import FAILURE, USAGE

LOUD = """
import ctypes, logging, os, sys
from helpers import TinyNetwork

logging.basicConfig(stream=sys.stdout, level="INFO")


def shout(where):
    print("printed", where)
    os.write(1, f"written {where}\\n".encode())
    ctypes.CDLL(None).printf(b"formatted\\n")
    sys.__stdout__.write(f"kept {where}\\n")
    logging.info("logged %s", where)
    os.system("echo echoed")


shout("at import")


class Loud(TinyNetwork):
    def __init__(self):
        super().__init__()
        shout("at build")

    def forward(self, x):
        if not isinstance(x.shape[0], int):
            return super().forward(x)
        shout("in forward")
        return super().forward(x)


class Ending(TinyNetwork):
    def forward(self, x):
        sys.exit(0)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"), prepend=":")
    torch.save(tiny_network().state_dict(), "net.pth")
    (tmp_path / "loud_network.py").write_text(LOUD)
    return tmp_path


def test_stdout_of_a_process_is_one_document(folder: Path) -> None:
    command = ["convert", "net.pth", "--arch", "loud_network:Loud", "--json", "--verify", "none"]
    found = subprocess.run(
        [sys.executable, "-m", "ssn_prune", *command], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["source"]["arch"] == "loud_network:Loud"
    for way in ("printed", "written", "kept", "logged"):
        assert f"{way} at import" in found.stderr
        assert f"{way} in forward" in found.stderr
    assert "formatted" in found.stderr
    assert "echoed" in found.stderr


def test_an_error_is_one_document_and_stdout_works_afterwards(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = run_cli("convert", "net.pth", "--arch", "loud_network:Nothing", "--json")
    assert found.exit_code == FAILURE
    assert json.loads(found.stdout)["error"]["code"] == "bad_architecture"
    assert "printed at import" in found.stderr
    sys.stdout.write("afterwards\n")
    assert capfd.readouterr().out == "afterwards\n"


def test_a_network_that_ends_the_program_is_an_error(folder: Path) -> None:
    arguments = ("convert", "net.pth", "--arch", "loud_network:Ending")
    plain, for_machines = run_cli(*arguments), run_cli(*arguments, "--json")
    assert plain.exit_code == for_machines.exit_code == FAILURE
    assert "ends the program when it runs" in plain.stderr
    assert json.loads(for_machines.stdout)["exit_code"] == FAILURE


def test_a_module_that_ends_the_program_is_a_usage_error(folder: Path) -> None:
    (folder / "ending_module.py").write_text("import sys\nsys.exit(0)\n")
    found = run_cli("convert", "net.pth", "--arch", "ending_module:Net")
    assert found.exit_code == USAGE
    assert "ending_module ends the program" in found.stderr
