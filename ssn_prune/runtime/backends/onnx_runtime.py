"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssn_prune.runtime.backends.interface import OpenFile


def open_onnx_runtime(path: Path, _shapes: Sequence[tuple[int, ...]], threads: int) -> OpenFile:
    """Open a file, which then takes every shape that it allows."""
    from ssn_prune.runtime.sessions import open_session, run_session

    session = open_session(path, path.name, threads=threads, spinning=False)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return run_session(session, path.name, arrays)

    return run


def onnx_runtime_version() -> str:
    """The installed version."""
    import onnxruntime

    # Not from the distribution, whose name differs for every kind of device.
    return str(onnxruntime.__version__)
