"""What a process that runs files of others may take. All of it is Linux; other systems know less.

The address space stands for memory: it is what a process can be held to without the right to make
control groups. ONNX Runtime reports an allocation that fails as an error like any other.
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
"""Of the memory that is available when the process starts."""
_PR_SET_PDEATHSIG = 1


def available_memory() -> int | None:
    """Bytes that a process can get without swapping; None where the system does not say."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    if found is None:
        return None
    return min([1024 * int(found[1]), *_left_in_control_groups()])


def _left_in_control_groups() -> list[int]:
    """Bytes left in a container, without what it can give back; for both versions of the files."""
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
    """Bytes that a process which is started now may take; None where the system does not say."""
    available = available_memory()
    return None if available is None else int(SHARE * available)


def limit_this_process(parent: int, memory: int | None) -> None:
    """Bound the memory of this process, leave no core file, and end with the parent.

    If memory runs out all the same, the system ends this process first.

    Args:
        parent: Identifier of the process that started this one.
        memory: Bytes that it may take beyond what it has; None for no limit.
    """
    if sys.platform != "linux":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # some sandboxes forbid it; it is the second line of defence
        Path("/proc/self/oom_score_adj").write_text("1000")
    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)
