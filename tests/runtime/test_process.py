"""The process that runs files: how it ends, what it may take, and what is said of its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from ssn_prune.errors import ArgumentError, InferenceRuntimeError
from ssn_prune.runtime import limits, process
from ssn_prune.runtime.process import runtime_process


@pytest.fixture
def relu(tmp_path: Path) -> dict[str, object]:
    """The arguments of a file that runs."""
    values = [helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    return {"path": str(tmp_path / "m.onnx"), "threads": 1}


def status_of(pid: int) -> str | None:
    """The state of a process; None if there is none."""
    try:
        found = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return re.search(r"State:\s+(\w)", found)[1]


def wait_for_end(pid: int) -> bool:
    """Whether a process that is no child of ours has ended soon."""
    end = time.monotonic() + 20
    while status_of(pid) not in (None, "Z") and time.monotonic() < end:
        time.sleep(0.02)
    return status_of(pid) in (None, "Z")


@pytest.mark.parametrize(
    ("number", "hint"), [(signal.SIGSEGV, "convert the checkpoint again"), (signal.SIGKILL, "free")]
)
def test_a_process_that_dies_is_a_typed_error_with_the_signal(relu, number, hint):
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
        os.kill(running.pid, number)
        with pytest.raises(InferenceRuntimeError, match=r"crashed on m\.onnx") as caught:
            running.call("run", "m.onnx")
    assert signal.Signals(number).name in caught.value.found
    assert hint in caught.value.hint
    assert not running.alive


def test_the_end_of_the_block_ends_the_process_at_once(relu):
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
        pid = running.pid
        assert running.alive
    assert status_of(pid) is None


def interrupted(relu) -> int:
    """The process that hung when the interrupt came."""
    main = threading.main_thread().ident
    try:
        with runtime_process(60) as running:
            running.call("open", "m.onnx", relu)
            os.kill(running.pid, signal.SIGSTOP)
            threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
            running.call("run", "m.onnx")
    except KeyboardInterrupt:
        return running.pid
    raise AssertionError("no interrupt")


def test_an_interrupt_ends_it(relu):
    assert status_of(interrupted(relu)) is None


def test_a_process_that_hangs_is_ended_and_the_cure_is_the_timeout(relu):
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
        running.seconds_left = running.timeout = 0.3
        os.kill(running.pid, signal.SIGSTOP)
        with pytest.raises(InferenceRuntimeError, match=r"needs more than 0\.3 s") as caught:
            running.call("run", "m.onnx")
    assert "`timeout=1`" in caught.value.hint


def test_time_that_is_spent_elsewhere_does_not_count(relu):
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
        left = running.seconds_left
        time.sleep(0.5)
        running.call("open", "m.onnx", relu)
        assert left - running.seconds_left < 0.4


def test_time_can_be_that_of_each_call(relu):
    with runtime_process(60) as running:
        running.each_call = True
        running.call("open", "m.onnx", relu)
        assert running.seconds_left == 60
        running.seconds_left = running.timeout = 0.3
        os.kill(running.pid, signal.SIGSTOP)
        with pytest.raises(InferenceRuntimeError, match=r"needs more than 0\.3 s"):
            running.call("run", "m.onnx")


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_is_positive(timeout):
    with pytest.raises(ArgumentError), runtime_process(timeout):
        pass


def test_a_timeout_may_be_endless(relu):
    with runtime_process(float("inf")) as running:
        running.call("open", "m.onnx", relu)


PARENT = """
import sys, time
from ssn_prune.runtime.process import runtime_process
with runtime_process(60) as running:
    running.call("open", "m.onnx", {"path": sys.argv[1], "threads": 1})
    print(running.pid, flush=True)
    time.sleep(60)
"""


def test_it_ends_with_the_process_that_started_it(relu):
    root = str(Path(process.__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, relu["path"]],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    with parent:
        pid = int(parent.stdout.readline())
        assert status_of(pid) in ("S", "R")
        parent.kill()
    assert wait_for_end(pid)


def test_it_finds_what_this_process_finds_and_nothing_in_the_current_folder(
    relu, tmp_path, monkeypatch
):
    """A relative entry of PYTHONPATH means the same there; an empty one means nothing."""
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit(9)")
    (tmp_path / "vendored").mkdir()
    (tmp_path / "vendored" / "sitecustomize.py").write_text(
        f"import pathlib; pathlib.Path({str(tmp_path / 'found')!r}).touch()"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "vendored"]))
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
    assert (tmp_path / "found").exists()


def test_its_memory_is_limited_and_it_leaves_no_core_file(relu, monkeypatch):
    monkeypatch.setattr(process, "memory_share", lambda: 3 << 30)
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
        found = Path(f"/proc/{running.pid}/limits").read_text()
        assert Path(f"/proc/{running.pid}/oom_score_adj").read_text().strip() == "1000"
        assert os.readlink(f"/proc/{running.pid}/cwd") == "/"
    most = int(re.search(r"Max address space\s+(\d+)", found)[1])
    assert 3 << 30 < most < 6 << 30
    assert re.search(r"Max core file size\s+0 ", found)


def test_the_share_of_the_memory_is_less_than_all_that_is_free():
    assert 0 < limits.memory_share() < limits.available_memory()


def test_python_that_cannot_be_started_is_a_typed_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(InferenceRuntimeError, match="cannot be started"), runtime_process(60):
        pass


def test_a_process_that_ends_at_once_is_a_typed_error(relu, monkeypatch):
    monkeypatch.setattr(process, "_START", "raise SystemExit(7)")
    with runtime_process(60) as running, pytest.raises(InferenceRuntimeError) as caught:
        running.call("open", "m.onnx", relu)
    assert "ended with status 7" in caught.value.found


def test_large_outputs_are_refused_before_they_are_read(relu, monkeypatch):
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
        monkeypatch.setattr(process, "available_memory", lambda: 16)
        four = [np.zeros(4, np.float32)]
        with pytest.raises(InferenceRuntimeError, match="do not fit into memory"):
            running.call("run", "m.onnx", arrays=four)


def test_it_leaves_no_files_about_the_user(relu, tmp_path, monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    own = tmp_path / "own"
    own.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(own))
    with runtime_process(60) as running:
        running.call("open", "m.onnx", relu)
    assert list(own.iterdir()) == []
