"""Write a model with a weights file, and act before the n-th call that changes files.

As a command: ``python write_faults.py TARGET TEXT TAG INDEX SIGNAL`` sends itself the signal there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssn_prune.files import external_name, replacing

CALLS = ("mkdir", "chmod", "open", "fsync", "replace", "rename", "unlink", "rmdir")
"""Every call with which ssn_prune.files changes files, or opens them to do so."""


def write(target: Path, text: str, tag: str = "") -> None:
    """A model and, with a tag of 16 hexadecimal digits, its weights in a file of their own."""
    with replacing(target) as path:
        if tag:
            weights = external_name(target, tag)
            (path.parent / weights).write_text(f"weights of {text}")
            text = f"{text} {weights}"
        path.write_text(text)


def is_complete(target: Path, *texts: str) -> bool:
    """Whether a target holds one of the texts, and its weights file belongs to it."""
    if not target.exists():
        return False
    text, *weights = target.read_text().split()
    return text in texts and all(
        (target.parent / name).read_text() == f"weights of {text}" for name in weights
    )


@contextmanager
def fault(index: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Call ``act`` before call number ``index``; yields the names of the calls so far."""
    seen: list[str] = []
    kept = {name: getattr(os, name) for name in CALLS}

    def counted(name: str) -> Callable:
        def call(*args, **kwargs):
            seen.append(name)
            if len(seen) == index:
                act()
            return kept[name](*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(name))
    try:
        yield seen
    finally:
        for name, call in kept.items():
            setattr(os, name, call)


def _terminate(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    target, text, tag, at, number = sys.argv[1:]
    signal.signal(signal.SIGTERM, _terminate)
    with fault(int(at), lambda: os.kill(os.getpid(), int(number))):
        write(Path(target), text, tag)
