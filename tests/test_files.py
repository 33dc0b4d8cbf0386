"""A target is the old file, absent, or the complete new one, whatever goes wrong and when."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import write_faults
from write_faults import fault, is_complete, write

from ssn_prune import file_locks, files
from ssn_prune.errors import OutputError
from ssn_prune.files import replacing, require_writable, resolved

OLD_TAG, TAG = "b" * 16, "a" * 16


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "model.onnx"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def calls_of_a_replacement(folder: Path) -> int:
    target = folder / "model.onnx"
    write(target, "old", OLD_TAG)
    with fault(-1, lambda: None) as seen:
        write(target, "new", TAG)
    assert {"mkdir", "chmod", "fsync", "replace", "unlink"} <= set(seen)
    assert names(folder) == ["model.onnx", f"model.onnx.{TAG}.data"]
    return len(seen)


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EACCES", "EIO", "EMFILE"])
@pytest.mark.parametrize("before", ["", "old"])
def test_an_error_at_any_call_leaves_the_old_or_the_complete_new_file(tmp_path, code, before):
    number = getattr(errno, code)

    def fail():
        raise OSError(number, os.strerror(number))

    counted = tmp_path / "counted"
    counted.mkdir()
    refused = 0
    for index in range(1, calls_of_a_replacement(counted) + 1):
        folder = tmp_path / str(index)
        folder.mkdir()
        target = folder / "model.onnx"
        if before:
            write(target, before, OLD_TAG)
        with fault(index, fail):
            refused += _is_refused(target, os.strerror(number))
        assert is_complete(target, "new", before) or not (before or target.exists()), index
        write(target, "next")
        assert names(folder) == ["model.onnx"], index
    assert refused > 5


def _is_refused(target: Path, reason: str) -> bool:
    try:
        write(target, "new", TAG)
    except OutputError as error:
        return reason in str(error.found) or pytest.fail(f"{reason} became {error.found}")
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_at_any_call_leaves_the_old_or_the_complete_new_file(tmp_path, number):
    counted = tmp_path / "counted"
    counted.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, write_faults.__file__]
    for index in range(1, calls_of_a_replacement(counted) + 1):
        folder = tmp_path / str(index)
        folder.mkdir()
        target = folder / "model.onnx"
        write(target, "old", OLD_TAG)
        options = [str(target), "new", TAG, str(index), str(int(number))]
        done = subprocess.run(command + options, env=environment, check=False)
        assert done.returncode == (-number if number == signal.SIGKILL else 128 + number)
        assert is_complete(target, "old", "new"), index
        write(target, "next")
        assert names(folder) == ["model.onnx"], index


@pytest.mark.parametrize("before", ["", "old"])
def test_what_fails_in_the_block_changes_nothing(target, before):
    if before:
        write(target, before, OLD_TAG)
    kept = names(target.parent)
    with pytest.raises(ZeroDivisionError):
        _fail_half_way(target)
    assert names(target.parent) == kept
    assert not before or is_complete(target, before)


def _fail_half_way(target: Path) -> None:
    with replacing(target) as path:
        (path.parent / "model.onnx.0123456789abcdef.data").write_text("half")
        path.write_text("half")
        raise ZeroDivisionError


def test_a_block_that_writes_nothing_is_an_error(target):
    write(target, "old")
    with pytest.raises(OutputError), replacing(target):
        pass
    assert is_complete(target, "old")


def test_leftovers_are_removed_unless_their_run_is_still_there(target):
    with replacing(target) as path:
        path.write_text("first")
        write(target, "second", TAG)  # another run with the same target, in the meantime
        assert path.read_text() == "first"
        assert is_complete(target, "second")
    assert target.read_text() == "first"
    assert names(target.parent) == ["model.onnx"]


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_leftovers_of_other_users_and_of_runs_that_end_just_now_do_not_matter(
    target, monkeypatch, error
):
    leftover = files._private_folder(target)
    leftover.mkdir()
    open_ = os.open

    def refuse(path, *arguments, **options):
        if Path(path) == leftover:
            raise error
        return open_(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    write(target, "new")
    assert is_complete(target, "new")


@pytest.mark.parametrize("code", ["ENOLCK", "ENOTSUP", "ENOSYS", "EINVAL", "EBADF"])
def test_a_file_system_without_locks(target, monkeypatch, code):
    def refuse(*_):
        raise OSError(getattr(errno, code), "no locks")

    monkeypatch.setattr(file_locks.fcntl, "flock", refuse)
    leftover = files._private_folder(target)
    leftover.mkdir()
    write(target, "new", TAG)
    assert is_complete(target, "new")
    assert leftover.is_dir()  # it may be in use


def test_a_probe_is_no_leftover_of_another_run(target, monkeypatch):
    mkdir = Path.mkdir

    def while_another_run_starts(path, *arguments, **options):
        mkdir(path, *arguments, **options)
        with pytest.raises(OSError, match="holds a lock"), file_locks.locked(path.parent):
            pass

    monkeypatch.setattr(file_locks, "_LOCK_SECONDS", 0.0)
    monkeypatch.setattr(Path, "mkdir", while_another_run_starts)
    require_writable(target, force=False)
    assert names(target.parent) == []


@pytest.mark.parametrize("at", ["asking", "end"])
def test_an_interrupt_while_a_folder_is_removed_leaves_nothing(target, monkeypatch, at):
    rmtree, calls = shutil.rmtree, []

    def interrupted(path, *arguments, **options):
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        rmtree(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        require_writable(target, force=False) if at == "asking" else write(target, "new")
    assert names(target.parent) == ([] if at == "asking" else ["model.onnx"])


def test_the_folder_to_make_is_quoted_for_the_shell(tmp_path):
    with pytest.raises(OutputError) as refusal:
        require_writable(tmp_path / "my nets; $(x)" / "m.onnx", force=False)
    command, _, cure = refusal.value.hint.partition(": ")
    assert command == "create it"
    subprocess.run(cure, shell=True, check=True)
    require_writable(tmp_path / "my nets; $(x)" / "m.onnx", force=False)


def test_runs_of_other_targets_are_left_alone(target):
    other = target.with_name("other.onnx")
    with replacing(other) as path:
        write(target, "model")
        path.write_text("other")
    assert names(target.parent) == ["model.onnx", "other.onnx"]


def test_threads_with_one_target_leave_a_complete_file(target):
    texts = [f"text{index}" for index in range(8)]

    def run(text):
        for _ in range(10):
            write(target, text, TAG if text < "text4" else f"{int(text[-1]):016x}")

    # The name of a weights file is that of its content, so equal names come with equal texts.
    threads = [threading.Thread(target=run, args=(text,)) for text in texts[3:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_complete(target, *texts)
    assert len(names(target.parent)) == 2


def test_processes_with_one_target_all_succeed(target):
    code = (
        "import sys\n"
        "from write_faults import *\n"
        "from ssn_prune.files import require_writable\n"
        "target, name = Path(sys.argv[1]), sys.argv[2]\n"
        "for _ in range(15):\n"
        "    require_writable(target, force=True)\n"
        "    write(target, f'text{name}', name * 16)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(target)]
    running = [subprocess.Popen([*command, name], env=environment) for name in "123456"]
    assert [process.wait() for process in running] == [0] * 6
    assert is_complete(target, *(f"text{name}" for name in "123456"))
    assert len(names(target.parent)) == 2


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_umask_gives(target, mask):
    command = f"import os; os.umask({mask}); from write_faults import *; "
    command += f"write(Path({str(target)!r}), 'x')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", command], env=environment, check=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o664, 0o200, 0])
def test_a_replaced_file_keeps_its_mode(target, mode):
    write(target, "old")
    target.chmod(mode)
    write(target, "new")
    assert stat.S_IMODE(target.stat().st_mode) == mode
    target.chmod(0o600)
    assert is_complete(target, "new")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


SPECIAL = {
    "FIFO": os.mkfifo,
    "socket": _socket,
    "directory": Path.mkdir,
    "circle": lambda path: path.symlink_to(path.name),
    "link to a FIFO": lambda path: (os.mkfifo(f"{path}.fifo"), path.symlink_to(f"{path}.fifo")),
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("force", [True, False])
def test_special_files_are_never_replaced(target, kind, force):
    SPECIAL[kind](target)
    before = (os.lstat(target).st_ino, os.lstat(target).st_mode)
    with pytest.raises(OutputError) as refusal:
        require_writable(resolved(target), force=force)
    assert refusal.value.hint
    with pytest.raises(OutputError):
        write(resolved(target), "new")
    assert (os.lstat(target).st_ino, os.lstat(target).st_mode) == before
    assert not [name for name in names(target.parent) if name.endswith(".tmp")]


def test_a_link_is_followed(target):
    real = target.with_name("real.onnx")
    target.symlink_to(real)  # it does not exist yet
    write(resolved(target), "new")
    assert target.is_symlink()
    assert is_complete(real, "new")


def test_asking_leaves_nothing_and_changes_nothing(target):
    write(target, "old")
    require_writable(target, force=True)
    with pytest.raises(OutputError, match="exists already"):
        require_writable(target, force=False)
    with pytest.raises(OutputError, match="does not exist"):
        require_writable(target.parent / "none" / "x.onnx", force=False)
    assert names(target.parent) == ["model.onnx"]


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    target = tmp_path / ("m" * 250 + ".onnx")
    require_writable(target, force=False)
    write(target, "new")
    assert is_complete(target, "new")
