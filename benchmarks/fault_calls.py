"""What becomes of a target when any of the calls that replace it fails."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support")]
COMMAND = [sys.executable, str(ROOT / "tests" / "support" / "write_faults.py")]
OLD, NEW = "b" * 16, "a" * 16
ERRORS = ("ENOSPC", "EROFS", "EACCES", "EIO", "EMFILE")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
SYSTEM_CALLS = (
    "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,"
    "chmod,fchmod,fchmodat,ftruncate,flock"
)
STATES = ("old", "absent", "complete", "partial")
ENVIRONMENT = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}


class Row:
    """What became of the targets of one kind of fault."""

    def __init__(self, fault: str, where: str) -> None:
        self.fault, self.where = fault, where
        self.states: Counter[str] = Counter()
        self.left = self.left_after = 0

    def add(self, state: str, left: int, left_after: int) -> None:
        """Count one more target, with the leftovers next to it before and after the next run."""
        self.states[state] += 1
        self.left += left
        self.left_after += left_after

    def __str__(self) -> str:
        counts = " | ".join(str(self.states[state]) for state in STATES)
        return (
            f"| {self.fault} | {self.where} | {self.states.total()} | {counts} "
            f"| {self.left} | {self.left_after} |"
        )


def leftovers(folder: Path) -> int:
    """Files of ours that are neither a target nor its weights."""
    return sum(path.name.startswith(".") for path in folder.iterdir())


def judge_written(row: Row, target: Path, succeeded: bool) -> None:
    """Look at a target of write_faults; then write it again."""
    from write_faults import is_complete, write

    left = leftovers(target.parent)
    if is_complete(target, "new"):
        state = "complete"
    elif succeeded:  # a lie
        state = "partial"
    elif is_complete(target, "old"):
        state = "old"
    else:
        state = "partial" if target.exists() else "absent"
    write(target, "next")
    names = sorted(path.name for path in target.parent.iterdir())
    row.add(state, left, len(names) - (target.name in names))


def in_folders(folder: Path, *, old: bool) -> Iterator[Path]:
    """Targets in folders of their own."""
    from write_faults import write

    while True:
        target = Path(tempfile.mkdtemp(dir=folder)) / "model.onnx"
        if old:
            write(target, "old", OLD)
        yield target
        shutil.rmtree(target.parent)


def errors_in_calls(folder: Path) -> Iterator[Row]:
    """An error at every call of the module that writes."""
    from write_faults import fault, write

    from ssn_prune.errors import OutputError

    for name in ERRORS:
        number = getattr(errno, name)
        row = Row(f"{name} at every call by index", "`files.py`")

        def fail(number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        for old in (False, True):
            for index, target in enumerate(in_folders(folder, old=old), 1):
                succeeded = True
                with fault(index, fail) as seen:
                    try:
                        write(target, "new", NEW)
                    except OutputError:
                        succeeded = False
                if len(seen) < index:
                    break
                judge_written(row, target, succeeded)
        yield row


def signals_in_calls(folder: Path) -> Iterator[Row]:
    """A signal at every call of the module that writes."""
    for number in SIGNALS:
        row = Row(f"{number.name} at every call by index", "`files.py`")
        for old in (False, True):
            for index, target in enumerate(in_folders(folder, old=old), 1):
                options = [str(target), "new", NEW, str(index), str(int(number))]
                done = subprocess.run(COMMAND + options, env=ENVIRONMENT, check=False)
                if done.returncode == 0:
                    break
                judge_written(row, target, False)
        yield row


def faults_in_system_calls(folder: Path) -> Iterator[Row | str]:
    """The same faults in system calls, below Python."""
    reason = _without_strace(folder)
    if reason is not None:
        yield f"Faults in system calls were left out: {reason}."
        return
    target = next(in_folders(folder, old=True))
    done = _strace(SYSTEM_CALLS, [*COMMAND, str(target), "new", NEW, "0", "9"], folder / "trace")
    if done:
        raise SystemExit("write_faults.py failed under strace")
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", (folder / "trace").read_text(), re.MULTILINE))
    for fault in (*(f"signal={number.name}" for number in SIGNALS), "error=ENOSPC", "error=EIO"):
        row = Row(f"{fault.partition('=')[2]} at every call by index", "system calls (strace)")
        for name, count in calls.items():
            targets = in_folders(folder, old=True)
            for index, target in zip(range(1, count + 1), targets, strict=False):
                given = [*COMMAND, str(target), "new", NEW, "0", "9"]
                done = _strace(name, given, folder / "trace", f"{fault}:when={index}")
                judge_written(row, target, done == 0)
        yield row


def _without_strace(folder: Path) -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    return "strace may not trace here" if _strace("fsync", ["true"], folder / "trace") else None


def _strace(calls: str, command: list[str], log: Path, inject: str | None = None) -> int:
    options = ["-f", "-o", str(log), "-e", f"trace={calls}"]
    if inject is not None:
        options += ["-e", f"inject={calls}:{inject}"]
    done = subprocess.run(
        ["strace", *options, *command], env=ENVIRONMENT, capture_output=True, check=False
    )
    return done.returncode
