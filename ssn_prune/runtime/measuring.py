"""Measurements of ONNX files: interleaved latencies, peak memory, profile."""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ssn_prune.runtime.inputs import Feed
from ssn_prune.runtime.providers import CPU
from ssn_prune.runtime.sessions import open_session


def time_in_turns(
    runners: Mapping[str, Callable[[], object]], runs: int, warmup: int = 3
) -> dict[str, list[float]]:
    """Time runs in turns, so that noise affects all files alike.

    Args:
        runners: Functions to time, by name.
        runs: Timed runs of each.
        warmup: Untimed runs of each before that.

    Returns:
        Seconds of each run, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(warmup + runs):
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            if turn >= warmup:
                times[name].append(time.perf_counter() - start)
    return times


def runner_of(
    path: Path, name: str, threads: int, feed: Feed, provider: str = CPU
) -> tuple[Callable[[], object], str]:
    """A function that runs a file once, and the execution provider that it runs on.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it.
    """
    session = open_session(path, name, threads=threads, provider=provider)
    return (lambda: session.run(None, feed)), session.get_providers()[0]


def added_memory(
    path: Path, name: str, threads: int, feed: Feed, provider: str = CPU
) -> int | None:
    """What loading a file and running it once add to the peak memory of this process, in bytes.

    The process must be a fresh one, because its peak never falls.

    Returns:
        The increase; None where the system does not report it.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it.
    """
    return peak_added(lambda: runner_of(path, name, threads, feed, provider)[0]())


def peak_added(action: Callable[[], object]) -> int | None:
    """What a call adds to the peak memory of this process, in bytes; None if not reported."""
    before = _peak()
    action()
    after = _peak()
    return None if before is None or after is None else after - before


def _peak() -> int | None:
    """The largest resident set of this process so far, in bytes."""
    if sys.platform == "win32":
        return None
    import resource

    # ru_maxrss includes the process that started this one, so Linux's own counter comes first.
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return 1024 * int(found[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def profile_nodes(
    path: Path,
    name: str,
    threads: int,
    feed: Feed,
    runs: int,
    folder: Path,
    provider: str = CPU,
) -> dict[str, float]:
    """Milliseconds that each node takes per run: the median over the runs, by node name.

    Args:
        path: The file.
        name: Its name, for errors.
        threads: Threads of ONNX Runtime.
        feed: Its inputs.
        runs: Number of runs.
        folder: Folder for the profile.
        provider: The execution provider.

    Raises:
        InferenceRuntimeError: ONNX Runtime cannot load it.
    """
    session = open_session(
        path, name, threads=threads, profile=folder / "profile", provider=provider
    )
    for _ in range(runs):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    suffix = "_kernel_time"
    durations: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(suffix):
            durations.setdefault(event["name"].removesuffix(suffix), []).append(event["dur"] / 1e3)
    return {node: statistics.median(values) for node, values in durations.items()}
