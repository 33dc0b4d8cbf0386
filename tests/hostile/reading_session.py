"""Read files in a worker process, which may hang, crash or exhaust memory."""

from __future__ import annotations

import json
import os
import queue
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = 5.0
"""Limit for reading a file, in CPU time."""
PATIENCE = 60.0
"""Seconds of waiting after which a reading counts as hanging; other processes run, too."""
MEMORY = 200 << 20
ADDRESS_SPACE = 64 << 30
"""Protects the machine. torch reserves much address space, but no sound file comes near this."""


@dataclass(frozen=True)
class Reading:
    """The outcome of one file.

    Attributes:
        kind: ``read``, ``refused``, ``unsafe``, or ``failed``.
        text: The message.
        problems: What happened but must not.
        changed: Keys of the sound weights that were read differently.
        facts: The metadata next to the weights.
        seconds: CPU time.
        memory: Peak memory in bytes, above that of the process after its imports.
    """

    kind: str
    text: str
    problems: tuple[str, ...]
    changed: tuple[str, ...] = ()
    facts: str = ""
    seconds: float = 0.0
    memory: int = 0


class ReadingSession:
    """A worker; use it as a context manager.

    Args:
        folder: Where the worker runs, and where a canary would appear.
        samples: Files that the worker reads first, so that everything is imported.
    """

    def __init__(self, folder: Path, samples: Sequence[Path]) -> None:
        self.folder = folder
        self.samples = samples
        self.restarts = 0
        self._start()

    def __enter__(self) -> ReadingSession:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop()

    def read(self, path: Path, action: str = "load", data: int = 0) -> Reading:
        """Read a file.

        Args:
            path: The file.
            action: One of the worker's.
            data: Bytes of tensors that the file holds.
        """
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(f"{action} {path}\n")
            self._worker.stdin.flush()
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            self._restart()
            return Reading("failed", "", (f"hung for {PATIENCE:.0f} s",))
        if line is None:
            code = self._worker.wait()
            self._restart()
            return Reading("failed", "", (f"the process died with {code}",))
        found: dict[str, Any] = json.loads(line)
        problems = [*found["problems"]]
        if found["seconds"] > SECONDS:
            problems.append(f"took {found['seconds']:.1f} s")
        if found["memory"] > MEMORY + 1.2 * data:
            problems.append(f"took {found['memory'] >> 20} MiB of memory")
        return Reading(
            found["kind"],
            found["text"],
            tuple(problems),
            tuple(found.get("changed", ())),
            found.get("facts", ""),
            found["seconds"],
            found["memory"],
        )

    def _start(self) -> None:
        path = os.pathsep.join([str(HERE), str(ROOT), str(ROOT / "tests" / "support")])
        self._worker = subprocess.Popen(
            [sys.executable, str(HERE / "reading_worker.py"), *map(str, self.samples)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
            preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE)
            ),
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._worker, self._lines), daemon=True).start()
        assert self._lines.get(timeout=120) == "ready\n"

    @staticmethod
    def _listen(worker: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            lines.put(line)
        lines.put(None)

    def _restart(self) -> None:
        self.restarts += 1
        self._stop()
        self._start()

    def _stop(self) -> None:
        self._worker.kill()
        self._worker.wait()
        for stream in (self._worker.stdin, self._worker.stdout):
            if stream is not None:
                stream.close()
