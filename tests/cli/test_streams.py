"""Output that nobody reads, that does not fit, or that a terminal would take for commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import tiny_network
from rich.console import Console

from ssn_prune.console.text import escape

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
NAMES = {
    "[bold red]n[/]": "[bold red]n[/]",
    "d[/b]": "d[/b]",
    "a\x1b[2Jb": "a\\x1b[2Jb",
    "a\nb": "a\\nb",
    "a\rb": "a\\rb",
    "a\udc80b": "a\\udc80b",
    "a\u202eb": "a\\u202eb",
    "a\\": "a\\",
    "\u6f22\u5b57 \u00e9": "\u6f22\u5b57 \u00e9",
}
"""By name, what is shown of it."""


@pytest.mark.parametrize(("name", "shown"), NAMES.items(), ids=range(len(NAMES)))
def test_names_are_shown_as_they_are_without_commanding_the_terminal(name, shown):
    with open(os.devnull, "w") as nowhere:
        console = Console(file=nowhere, width=100, record=True, force_terminal=True)
        console.print(f"[bold]{escape(name)}[/]!", highlight=False)
    assert console.export_text(clear=False) == f"{shown}!\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save(tiny_network().state_dict(), tmp_path / "net[v2].pth")
    return tmp_path


def run(folder: Path, shell: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    paths = os.pathsep.join(filter(None, sys.path))
    command = shell.replace("ssn-prune", f"{sys.executable} -m ssn_prune")
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("option", ["", "--json"])
@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), (">/dev/full", 1), ("2>/dev/full", 0)],
)
def test_closed_and_full_streams(folder, redirection, code, option):
    done = run(folder, f"ssn-prune inspect 'net[v2].pth' {option} {redirection}")
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert b"unexpected" not in done.stderr
    assert (b"standard output" in done.stderr) == (code == 1)


@pytest.mark.parametrize("arguments", ["--help", "--version", "convert --help", "demo --help"])
def test_help_that_cannot_be_written(folder, arguments):
    done = run(folder, f"ssn-prune {arguments} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == b"error: the output cannot be written: No space left on device\n"
    assert run(folder, f"ssn-prune {arguments} >&-").returncode == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path, closed):
    code = (
        "import os, sys\n"
        "from ssn_prune.cli.streams import sound_streams\n"
        "with sound_streams():\n"
        "    with open('model', 'w') as file:\n"
        "        for number in 0, 1, 2:\n"
        "            os.fstat(number)\n"
        "        os.write(2, b'from C code'); os.write(1, b'from C code')\n"
        "        print(file.fileno(), file=file)\n"
    )
    redirections = " ".join(f"{number}{'<' if number == 0 else '>'}&-" for number in closed)
    (tmp_path / "run.py").write_text(code)
    done = run(tmp_path, f"{sys.executable} run.py {redirections}")
    assert done.returncode == 0
    assert int((tmp_path / "model").read_text()) > 2


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_an_error_that_nobody_reads_keeps_its_code(folder, redirection):
    assert run(folder, f"ssn-prune inspect none.pth {redirection}").returncode == 1


@pytest.mark.parametrize("option", ["", "--json"])
def test_a_reader_that_ends_early(folder, option):
    shell = f"ssn-prune inspect 'net[v2].pth' {option} | true; echo ${{PIPESTATUS[0]}}"
    done = run(folder, shell)
    assert done.stdout.strip() in (b"0", b"141")
    assert done.stderr == b""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_streams_of_any_encoding(folder, encoding):
    (folder / "net[v2].pth").rename(folder / "\u6f22 \u00e9.pth")
    for shell in ("ssn-prune inspect *.pth", "ssn-prune convert *.pth"):
        done = run(folder, shell, PYTHONIOENCODING=encoding)
        assert done.returncode == (0 if "inspect" in shell else 1)
        assert b"Traceback" not in done.stderr
        text = (done.stdout + done.stderr).decode(encoding)
        assert ("\u6f22" if encoding == "utf-8" else "\\u6f22") in text


def test_brackets_in_names(folder):
    done = run(folder, "ssn-prune inspect 'net[v2].pth'")
    assert b"net[v2].pth" in done.stdout
    document = run(folder, "ssn-prune inspect 'net[v2].pth' --json")
    assert json.loads(document.stdout)["source"]["file_name"] == "net[v2].pth"
    missing = run(folder, "ssn-prune inspect 'd[/b]/m.pth'")
    assert b"d[/b]/m.pth" in missing.stderr


@pytest.mark.parametrize("size", ["stty cols 20;", "stty cols 0;", "COLUMNS=20", "COLUMNS=0"])
def test_few_columns(folder, size):
    shell = f"script -qec \"{size} ssn-prune inspect 'net[v2].pth'\" /dev/null"
    done = run(folder, shell, TERM="xterm")
    assert done.returncode == 0
    assert b"Traceback" not in done.stdout
    assert b"layers" in done.stdout
