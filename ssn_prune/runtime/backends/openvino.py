"""OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from ssn_prune.runtime.backends.interface import OpenFile


def open_openvino(path: Path, _shapes: Sequence[tuple[int, ...]], threads: int) -> OpenFile:
    """Open a file, which then takes every shape that it allows.

    By default OpenVINO computes in bfloat16 or float16 where the processor supports it.
    """
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = compiled(list(arrays))
        # Copied: the next run writes to the memory of these arrays.
        return [np.array(found[output]) for output in compiled.outputs]

    return run


def openvino_version() -> str:
    """The installed version."""
    return metadata.version("openvino")
