"""The scripts in the shells that are here; bash always is."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_checks import run_cli

from ssn_prune.completion import candidates as completing

FOLDER = Path(completing.__file__).with_name("shells")
SHELLS = sorted(path.suffix[1:] for path in FOLDER.iterdir())
HERE = [shell for shell in SHELLS if shutil.which(shell)]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ``ssn-prune`` on the path, and two files."""
    program = tmp_path / "bin" / "ssn-prune"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ssn_prune "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    root = str(FOLDER.parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "my net.pth").touch()
    monkeypatch.chdir(tmp_path / "nets")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell):
    result = run_cli("completion", shell)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (FOLDER / f"completion.{shell}").read_text(encoding="utf-8")
    assert f"ssn-prune completion {shell}" in result.stdout  # how it is put to use


@pytest.mark.parametrize("shell", HERE)
def test_the_script_is_sound(shell):
    subprocess.run([shell, "-n", str(FOLDER / f"completion.{shell}")], check=True)


def bash(line: str) -> list[str]:
    """What bash would offer, which replaces only what follows the last : or =."""
    code = f"""
        source {shlex.quote(str(FOLDER / "completion.bash"))}
        compopt() {{ echo "$2"; }}
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        _ssn_prune ssn-prune
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ssn-prune conv", ["convert"]),
        ("ssn-prune convert --embed", ["--embed-preprocessing"]),
        ("ssn-prune convert --arch torchvision:resnet10", ["resnet101"]),
        ("ssn-prune convert --arch=torchvision:resnet10", ["resnet101"]),
        ("ssn-prune convert --arch torchv", ["nospace", "torchvision:"]),
        ("ssn-prune convert --target=openv", ["openvino"]),
        ("ssn-prune convert my", ["default"]),
    ],
)
def test_bash_gets_what_it_puts_in_place(line, expected):
    assert bash(line) == expected
