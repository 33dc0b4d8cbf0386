"""A process for exported files: one that hangs, crashes or eats memory ends only that process.

It is a fresh process, not a fork, since torch's threads do not survive a fork. It imports onnx,
ONNX Runtime and NumPy, and is killed at the end.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import ssn_prune
from ssn_prune.errors import (
    ArgumentError,
    InferenceRuntimeError,
    SsnPruneError,
    UntrustedFileError,
)
from ssn_prune.runtime.backends.table import ONNX_RUNTIME
from ssn_prune.runtime.limits import available_memory, memory_share
from ssn_prune.runtime.messages import receive, send

_RAISED_THERE = (ArgumentError, InferenceRuntimeError, UntrustedFileError)
TIMEOUT = 600.0
"""Seconds that loading and running a file may take by default."""

# Load this very package, whatever else Python's path has under its name.
_START = """
import sys
from importlib import util
spec = util.spec_from_file_location("ssn_prune", sys.argv[1])
package = util.module_from_spec(spec)
sys.modules["ssn_prune"] = package
spec.loader.exec_module(package)
from ssn_prune.runtime.worker import main
main()
"""


class RuntimeProcess:
    """The process; :func:`runtime_process` starts one.

    Attributes:
        timeout: Seconds that it may take for a file, for errors.
        runtime: Name of the runtime, for errors.
        seconds_left: Seconds that are left of the timeout, over all calls.
        each_call: Whether each call has the whole timeout.
    """

    def __init__(self, process: subprocess.Popen[bytes], timeout: float, runtime: str) -> None:
        self._process = process
        self.timeout = timeout
        self.runtime = runtime
        self._timed_out = False
        self.seconds_left = timeout
        self.each_call = False

    def call(
        self,
        action: str,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        arrays: Sequence[np.ndarray] = (),
    ) -> tuple[Any, list[np.ndarray]]:
        """Call a method of the worker.

        Args:
            action: A method of :class:`~ssn_prune.runtime.worker.Worker`.
            name: Name of the file, for errors.
            arguments: Arguments of the method, as values for ``json.dumps``.
            arrays: Arrays of numbers for the method.

        Returns:
            The worker's answer, and its arrays.

        Raises:
            SsnPruneError: What the worker raised.
            InferenceRuntimeError: The process took too long or died.
        """
        request = {"action": action, "name": name, "arguments": dict(arguments or {})}
        alarm = threading.Timer(min(self.seconds_left, threading.TIMEOUT_MAX), self._give_up)
        alarm.daemon = True
        start = time.monotonic()
        alarm.start()
        try:
            message, found = self._ask(request, arrays)
        # The worker itself sends valid messages, but a hostile file may have taken it over.
        except (EOFError, OSError, ValueError) as error:
            raise self._ended(name) from error
        except MemoryError as error:
            raise _too_large(name, str(error)) from error
        finally:
            alarm.cancel()
            alarm.join()
            if not self.each_call:
                self.seconds_left -= time.monotonic() - start
        if "error" in message:
            raise _error_of(message["error"])
        return message["answer"], found

    def _ask(self, request: Any, arrays: Sequence[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        send(self._process.stdin, request, arrays)
        available = available_memory()
        return receive(self._process.stdout, None if available is None else available // 4)

    def _give_up(self) -> None:
        self._timed_out = True
        self.kill()

    @property
    def pid(self) -> int:
        """Its process identifier."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is still running."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill it and whatever it has started."""
        if not self.alive:
            return
        if hasattr(os, "killpg"):
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def close(self) -> None:
        """Close its standard input."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _ended(self, name: str) -> InferenceRuntimeError:
        """The error for a process that no longer answers."""
        self.kill()
        status = self._process.wait()
        if self._timed_out:
            return InferenceRuntimeError(
                f"{self.runtime} needs more than {self.timeout:g} s for {name}",
                expected=f"a file that loads and runs within `timeout={self.timeout:g}`",
                found="no answer; it was ended",
                hint=f"pass `timeout={max(1, math.ceil(2 * self.timeout))}` if the network is "
                "that slow; a file with an endless loop in it never ends",
            )
        if status == -signal.SIGKILL:
            cure = "free memory, and try again; or convert the checkpoint again"
        else:
            cure = "convert the checkpoint again, and give that file"
        if self.runtime != ONNX_RUNTIME.title:
            cure = f"use another version of {self.runtime}, or run the file in ONNX Runtime"
        return InferenceRuntimeError(
            f"{self.runtime} crashed on {name}",
            expected="a file that loads and runs",
            found=f"a process that {_end_of(status)}",
            hint=cure,
        )


@contextmanager
def runtime_process(
    timeout: float,
    runtime: str = ONNX_RUNTIME.title,
    *,
    limited: bool = True,
    scratch: str | None = None,
) -> Iterator[RuntimeProcess]:
    """Start a process; it is killed when the block ends.

    Args:
        timeout: Seconds that it may take in all its calls.
        runtime: Name of the runtime, for errors.
        limited: Limit its memory by limiting its address space. Drivers of devices reserve far more
            addresses than memory, so they need this off.
        scratch: Folder for its temporary files, which a crash leaves behind.

    Raises:
        ArgumentError: The timeout is not a positive number.
        InferenceRuntimeError: It cannot be started.
    """
    if not timeout > 0:  # NaN, too
        raise ArgumentError(
            "the timeout is no positive number",
            expected="seconds, more than 0",
            found=f"`timeout={timeout}`",
            hint=f"pass `timeout={TIMEOUT:g}`, which is the default",
        )
    # -P: a file in the current folder must not be imported in the place of a module.
    memory = memory_share() if limited else None
    limits = [str(os.getpid()), "" if memory is None else str(memory)]
    command = [sys.executable, "-P", "-c", _START, ssn_prune.__file__, *limits]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # ONNX Runtime prints names in the file as they are
            cwd=os.sep,
            env=os.environ | _environment(scratch),
            start_new_session=True,  # Ctrl-C reaches this process only, which then kills that one
        )
    except OSError as error:
        raise InferenceRuntimeError(
            "the process that runs exported files cannot be started",
            expected=f"Python at {sys.executable}",
            found=error.strerror or str(error),
            hint="close programs, or raise the limits of processes and open files (ulimit)",
        ) from error
    with process:
        running = RuntimeProcess(process, timeout, runtime)
        try:
            yield running
        finally:
            running.kill()
            with contextlib.suppress(OSError):  # the pipe breaks if there is unread data in it
                running.close()


def _environment(scratch: str | None) -> dict[str, str]:
    # By default ONNX Runtime may send telemetry, and keep files in the home folder.
    found = {"PYTHONPATH": _python_path(), "ORT_DISABLE_TELEMETRY": "1"}
    return found if scratch is None else found | {"TMPDIR": scratch}


def _python_path() -> str:
    """PYTHONPATH with absolute entries; an empty one would mean the current folder."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(os.path.abspath(entry) for entry in entries if entry)


def _end_of(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    known = {entry.value: entry.name for entry in signal.Signals}
    return f"was ended by {known.get(-status, f'signal {-status}')}"


def _too_large(name: str, found: str) -> InferenceRuntimeError:
    return InferenceRuntimeError(
        f"the outputs of {name} do not fit into memory",
        expected="outputs like those of the network",
        found=found,
        hint="convert the checkpoint again and verify that file; or free memory",
    )


def _error_of(fields: dict[str, str | None]) -> SsnPruneError:
    kinds = {kind.code: kind for kind in _RAISED_THERE}
    problem = fields["problem"] or ""
    texts = {key: fields[key] for key in ("expected", "found", "hint")}
    return kinds[fields["code"] or ""](problem, **texts)
