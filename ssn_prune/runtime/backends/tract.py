"""tract on the CPU, where it uses one thread."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ssn_prune.runtime.backends.fixed_shapes import write_fixed_shapes
from ssn_prune.runtime.backends.interface import OpenFile


def open_tract(path: Path, shapes: Sequence[tuple[int, ...]], _threads: int) -> OpenFile:
    """Open a file for inputs of given shapes."""
    import tract

    with TemporaryDirectory() as folder:
        model = tract.onnx().load(write_fixed_shapes(path, shapes, Path(folder)))
        runnable = model.into_model().into_runnable()

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [output.to_numpy() for output in runnable.run(list(arrays))]

    return run


def tract_version() -> str:
    """The installed version."""
    return metadata.version("tract")
