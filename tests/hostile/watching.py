"""Watch a process while it reads a file: code execution, memory, and lasting changes."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# Audit events that reading a file must never raise, once everything has been imported.
FORBIDDEN = re.compile(
    r"import$|exec$|compile$|code\.__new__|function\.__new__|marshal\.|pickle\.find_class"
    r"|os\.(system|exec|fork|forkpty|posix_spawn|spawn|startfile|kill|remove|rename|mkdir|rmdir"
    r"|link|symlink|chmod|chown|truncate|utime|chdir)"
    r"|subprocess\.|pty\.|socket\.|ctypes\.|shutil\.|tempfile\.|urllib\.|webbrowser\.|ftplib\."
    r"|builtins\.(input|breakpoint)|sys\.(settrace|setprofile|addaudithook|unraisablehook)"
    r"|mmap\.__new__|gc\.|signal\."
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Records forbidden events while it is armed; an audit hook can never be removed."""

    def __init__(self) -> None:
        self.armed = False
        self.events: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.armed:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
        if writes or (FORBIDDEN.match(event) and not _flushes(event, arguments)):
            self.events.append(f"{event} {str(arguments[:2])[:200]}")

    @contextmanager
    def on(self) -> Iterator[list[str]]:
        """Armed inside; gives the events."""
        self.events = []
        self.armed = True
        try:
            yield self.events
        finally:
            self.armed = False


def _flushes(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether it is the call that flushes the C library's buffers before stdout is redirected."""
    opens = event == "ctypes.dlopen" and arguments == (None,)
    return opens or (event == "ctypes.dlsym" and arguments[1] == "fflush")


def process_state() -> dict[str, object]:
    """The state that reading a file must leave unchanged."""
    return {
        "safe globals": sorted(map(str, torch.serialization.get_safe_globals())),
        "warning filters": len(warnings.filters),
        "recursion limit": sys.getrecursionlimit(),
        "digits of integers": sys.get_int_max_str_digits(),
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "threads": threading.active_count(),
        "alarm": str(signal.getsignal(signal.SIGALRM)),
        "open files": len(os.listdir("/proc/self/fd")),
        "collector": gc.isenabled(),
        "modules": len(sys.modules),
    }


_C = ctypes.CDLL(None)


def forget() -> None:
    """Return freed memory to the system, and reset the peak memory of this process."""
    _C.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak_and_now() -> tuple[int, int]:
    """The peak memory since :func:`forget`, and the memory in use now, in bytes."""
    text = Path("/proc/self/status").read_text()
    peak, now = (re.search(rf"{name}:\s+(\d+) kB", text) for name in ("VmHWM", "VmRSS"))
    assert peak
    assert now
    return int(peak[1]) * 1024, int(now[1]) * 1024
