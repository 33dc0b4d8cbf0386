"""Open and run a file in any runtime of the table; whatever it raises becomes a typed error."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ssn_prune.errors import InferenceRuntimeError, SsnPruneError, first_line
from ssn_prune.runtime.backends.interface import Backend, OpenFile
from ssn_prune.text import printable


class RunningFile:
    """A file in a runtime. It is opened at the first run, and again for shapes that need it.

    Args:
        backend: The runtime.
        path: The file.
        threads: Number of threads.

    Raises:
        InferenceRuntimeError: The runtime is not installed.
    """

    def __init__(self, backend: Backend, path: Path, threads: int = 1) -> None:
        require_installed(backend)
        self._backend, self._path, self._threads = backend, path, threads
        self._open: OpenFile | None = None
        self._shapes: list[tuple[int, ...]] = []

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run it once.

        Args:
            arrays: Its inputs, in its order.

        Returns:
            Its outputs, in its order.

        Raises:
            InferenceRuntimeError: The runtime cannot load or run it.
        """
        shapes = [array.shape for array in arrays]
        first = 1 if self._backend.open_batch else 0
        try:
            if self._open is None or [s[first:] for s in shapes] != self._shapes:
                self._open = None  # release its memory before the next one is opened
                self._open = self._backend.open(self._path, shapes, self._threads)
                self._shapes = [shape[first:] for shape in shapes]
            return [np.asarray(output) for output in self._open(arrays)]
        except SsnPruneError:
            raise
        # Every runtime has its own errors, most of them without a common base class.
        except Exception as error:
            raise _cannot_run(self._backend, self._path, error) from error


def require_installed(backend: Backend) -> None:
    """Refuse a runtime that is not installed.

    Raises:
        InferenceRuntimeError: Its module is missing; the hint is the command that installs it.
    """
    if find_spec(backend.module) is None:
        raise InferenceRuntimeError(
            f"{backend.title} is not installed",
            expected=f"the Python module {backend.module}",
            found="no such module",
            hint=f"pip install {shlex.join(backend.requirements)}",
        )


def _cannot_run(backend: Backend, path: Path, error: Exception) -> InferenceRuntimeError:
    return InferenceRuntimeError(
        f"{backend.title} cannot run {printable(path.name)}",
        expected="operators that this runtime has, and inputs that the file takes",
        found=printable(first_line(error)),
        hint="see whether ONNX Runtime runs the file with these inputs; if it does, use another "
        f"version of {backend.title}, or another runtime",
    )
