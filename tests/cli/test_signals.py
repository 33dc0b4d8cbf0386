"""Signals at any moment: the command cleans up, says so, and exits with 128 + the number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import tiny_network

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
CODES = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]
WAITS = """
import pathlib, time
from helpers import TinyNetwork

class Waits(TinyNetwork):
    def forward(self, x):
        pathlib.Path("ready").touch()
        time.sleep(60)
        return super().forward(x)
"""


ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(
        [str(Path(__file__).parents[1] / "support"), *filter(None, sys.path)]
    )
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save(tiny_network().state_dict(), path)
    return path


def interrupted(folder: Path, code: str, setup: str = "") -> subprocess.CompletedProcess[str]:
    """Run code as a command, in a process of its own."""
    start = (
        "import os, pathlib, signal, sys, time, weakref\n"
        "from ssn_prune.cli.signals import exit_on_signals\n"
        "def hit(number=signal.SIGTERM): os.kill(os.getpid(), number)\n"
        "def wait():\n"
        "    for _ in range(500): time.sleep(0.01)\n"
        "    raise SystemExit('no signal came')\n"
        "with exit_on_signals():\n"
    )
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    return subprocess.run(
        [sys.executable, "-c", setup + start + lines],
        cwd=folder,
        env=ENVIRONMENT | {"PYTHONPATH": f"{folder}:{ENVIRONMENT['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("name", "code"), CODES)
def test_a_signal_ends_a_command_after_clean_up(checkpoint, tmp_path, name, code):
    (tmp_path / "waits.py").write_text(WAITS)
    command = [sys.executable, "-m", "ssn_prune", "convert", "net.pth", "--arch", "waits:Waits"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    assert list(tmp_path.glob(".ssn_prune.*.tmp"))
    for _ in range(3):  # an impatient user
        process.send_signal(getattr(signal, name))
        time.sleep(0.002)
    _, shown = process.communicate(timeout=30)
    assert process.returncode == code
    assert shown == "error: interrupted; no file is half written\n"
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix) == ["net.pth", "waits.py"]


def test_an_interrupt_that_the_network_takes_for_its_own_error_comes_again(checkpoint, tmp_path):
    swallows = "try: time.sleep(60)\n        except BaseException: time.sleep(60)"
    assert WAITS.count("time.sleep(60)") == 1
    (tmp_path / "waits.py").write_text(WAITS.replace("time.sleep(60)", swallows))
    command = [sys.executable, "-m", "ssn_prune", "convert", "net.pth", "--arch", "waits:Waits"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1200):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=30)
    assert (process.returncode, shown) == (143, "error: interrupted; no file is half written\n")
    assert not list(tmp_path.glob(".ssn_prune.*.tmp"))


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
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_the_import_of_a_package_is_not_interrupted(tmp_path):
    # NumPy, for one, cannot be loaded twice, and who catches the interrupt may import it again.
    (tmp_path / "packages").mkdir()
    body = "import os\nos.kill(os.getpid(), 15)\nhalf = True\nhalf = False\n"
    (tmp_path / "packages" / "half.py").write_text(body)
    packages = str(tmp_path / "packages")
    code = f"sys.path.insert(0, {packages!r})\ntry:\n    import half\n    wait()\n"
    code += "finally: print(half.half)\n"
    setup = f"import sysconfig; sysconfig.get_path = lambda name: {packages!r}\n"
    done = interrupted(tmp_path, code, setup)
    assert (done.returncode, done.stdout, done.stderr) == (143, "False\n", "")


FRAMES = """
import sys
from ssn_prune.cli import signals
PATH, NAME = sys.argv[1:]
seen = []
def called_by_the_module():
    seen.append(signals._imports_a_package(sys._getframe(), ("/packages/",)))
def runs(module):
    code = "called()"
    exec(compile(code, NAME, "exec"), {"called": called_by_the_module})
from importlib.machinery import SourceFileLoader
SourceFileLoader.get_code = lambda self, name: compile("runs(None)", NAME, "exec")
import types
module = types.ModuleType("m")
module.runs = runs
SourceFileLoader("m", PATH).exec_module(module)
print(seen)
"""


@pytest.mark.parametrize("frame", ["<frozen abc>", "<string>", "/elsewhere/x.py", "/packages/x.py"])
@pytest.mark.parametrize(("path", "waits"), [("/packages/m.so", True), ("/own/m.py", False)])
def test_what_is_imported_counts_whatever_code_it_calls(path, waits, frame):
    # A module in C has no frame of its own: NumPy's call abc's, and then drop the interrupt.
    command = [sys.executable, "-c", FRAMES, path, frame]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == f"[{waits}]\n"


def test_the_import_of_the_users_own_module_is_interrupted(tmp_path):
    text = "import os, time\nos.kill(os.getpid(), 15)\ntime.sleep(30)\n"
    (tmp_path / "trains.py").write_text(text)
    start = time.monotonic()
    assert interrupted(tmp_path, "import trains").returncode == 143
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("at", ["__del__", "weak reference"])
def test_an_interrupt_that_python_drops_comes_again(tmp_path, at):
    code = "class Thing:\n    pass\nthing = Thing()\n"
    if at == "__del__":
        code += "Thing.__del__ = lambda self: hit()\n"
    else:
        code += "keep = weakref.ref(thing, lambda _: hit())\n"
    done = interrupted(tmp_path, code + "del thing\nwait()\n")
    assert (done.returncode, done.stderr) == (143, "")


def test_other_exceptions_that_nothing_can_catch_are_reported_as_ever(tmp_path):
    code = "class Thing:\n    def __del__(self): 1 / 0\nThing()\n"
    done = interrupted(tmp_path, code)
    assert done.returncode == 0
    assert "ZeroDivisionError" in done.stderr


def test_a_second_signal_does_not_disturb_the_clean_up(tmp_path):
    code = (
        "try:\n    hit()\n"
        "finally:\n    hit(signal.SIGINT); hit(signal.SIGHUP)\n    pathlib.Path('clean').touch()\n"
    )
    done = interrupted(tmp_path, code)
    assert (done.returncode, done.stderr) == (143, "")
    assert (tmp_path / "clean").exists()


def test_nor_does_one_while_the_process_ends(tmp_path):
    code = "import atexit\natexit.register(hit)\nhit(signal.SIGINT)\n"
    assert interrupted(tmp_path, code).returncode == 130


def test_handlers_are_put_back_and_an_alarm_is_the_callers(tmp_path):
    code = (
        "assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL\n"
        "assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL\n"
    )
    done = interrupted(
        tmp_path,
        f"{code}\nimport atexit\natexit.register(lambda: print(signal.getsignal(15) == 0))",
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True")
