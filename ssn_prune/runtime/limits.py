"""Limits of a process that runs untrusted files. They are set on Linux only.

The limit of memory is one of address space, because a process can set that without the right to
create control groups. ONNX Runtime reports a failed allocation as an ordinary error.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
from pathlib import Path

SHARE = 0.75
"""Share of the memory available at the start that the process may take."""
_PR_SET_PDEATHSIG = 1


def available_memory() -> int | None:
    """Bytes that a process can get without swapping; None where the system does not report it."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    if found is None:
        return None
    return min([1024 * int(found[1]), *_left_in_control_groups()])


def _left_in_control_groups() -> list[int]:
    """Bytes left in the container, its cache counted as free; for cgroup versions 1 and 2."""
    left = []
    for folder, limit, usage, cache in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
    ):
        try:
            most, used, details = (
                Path(folder, name).read_text() for name in (limit, usage, "memory.stat")
            )
        except OSError:
            continue
        cached = re.search(rf"^{cache} (\d+)$", details, re.MULTILINE)
        if most.strip().isdigit():
            left.append(int(most) - int(used) + (int(cached[1]) if cached else 0))
    return left


def memory_share() -> int | None:
    """Bytes that a process started now may take; None where the system does not report it."""
    available = available_memory()
    return None if available is None else int(SHARE * available)


def limit_this_process(parent: int, memory: int | None) -> None:
    """Limit the memory of this process, write no core file, and end when the parent ends.

    If memory runs out in spite of that, the system kills this process first.

    Args:
        parent: Identifier of the process that started this one.
        memory: Bytes that it may take in addition to what it has; None for no limit.
    """
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # some sandboxes forbid it; the limit below still holds
        Path("/proc/self/oom_score_adj").write_text("1000")
    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)
