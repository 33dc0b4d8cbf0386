"""Run jobs in their own processes: a crash ends only one job, and each frees all its memory."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ssn_prune.batch.jobs import Job

_STOPPING = 10.0
"""Seconds that a process may take to clean up before it is killed."""


@dataclass(frozen=True)
class Result:
    """The result of a job.

    Attributes:
        job: The job.
        exit_code: The exit code of its process, as the command line defines it.
        document: Its report or its error, as JSON.
        seconds: How long it took.
        messages: What it printed on standard error.
    """

    job: Job
    exit_code: int
    document: dict[str, Any]
    seconds: float
    messages: str = ""

    @property
    def problem(self) -> str | None:
        """What went wrong, in one sentence."""
        error = self.document.get("error")
        return None if error is None else str(error.get("problem"))


def run_jobs(
    jobs: Sequence[Job],
    command_of: Callable[[Job], list[str]],
    at_once: int,
    started: Callable[[Job], None],
    finished: Callable[[Result], None],
) -> tuple[Result, ...]:
    """Run every job; a failure does not stop the others.

    Args:
        jobs: What to convert.
        command_of: The command that converts a checkpoint and prints a JSON document.
        at_once: Number of processes at a time, which share the cores.
        started: Called from another thread when a job starts.
        finished: Called when one ends.

    Returns:
        The results in the order of the jobs.
    """
    environment = dict(os.environ)
    threads = max(1, (os.cpu_count() or 1) // at_once)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    results: dict[Job, Result] = {}
    with _processes() as processes, ThreadPoolExecutor(at_once) as pool:
        waiting = [
            pool.submit(_run, job, command_of(job), environment, processes, started) for job in jobs
        ]
        try:
            for future in as_completed(waiting):
                result = future.result()
                results[result.job] = result
                finished(result)
        except BaseException:
            # Waiting jobs must not start; stop() ends those that run.
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise
    return tuple(results[job] for job in jobs)


class _Processes:
    """The running processes."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise RuntimeError("no process starts after the end")
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self._running.add(process)
            return process

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """End the running processes, after giving them time to clean up."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()
        end = time.monotonic() + _STOPPING
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def _processes() -> Iterator[_Processes]:
    processes = _Processes()
    try:
        yield processes
    finally:
        processes.stop()


def _run(
    job: Job,
    command: list[str],
    environment: dict[str, str],
    processes: _Processes,
    started: Callable[[Job], None],
) -> Result:
    started(job)
    begun = time.monotonic()
    process = processes.start(command, environment)
    try:
        out, err = process.communicate()
    finally:
        processes.forget(process)
    seconds = time.monotonic() - begun
    try:
        document = json.loads(out)
    except ValueError:  # it crashed, or the system ended it
        document = {"error": _ending(process.returncode, err)}
    messages = err.decode(errors="replace").strip()
    return Result(job, _code(process.returncode), document, seconds, messages)


def _code(returned: int) -> int:
    """The exit code as a shell gives it: 128 + the number of a signal that ended the process."""
    return 128 - returned if returned < 0 else returned


def _ending(returned: int, err: bytes) -> dict[str, Any]:
    lines = err.decode(errors="replace").strip().splitlines()
    how = f"signal {-returned}" if returned < 0 else f"exit code {returned}"
    return {
        "code": "crashed",
        "problem": f"the process ended with {how}",
        "expected": "a report",
        "found": lines[-1] if lines else "nothing",
        "hint": "convert this checkpoint alone to see more",
    }
