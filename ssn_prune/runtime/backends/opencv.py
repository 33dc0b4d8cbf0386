"""OpenCV's DNN module on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from ssn_prune.runtime.backends.fixed_shapes import write_fixed_shapes
from ssn_prune.runtime.backends.interface import OpenFile


def open_opencv(path: Path, shapes: Sequence[tuple[int, ...]], threads: int) -> OpenFile:
    """Open a file for inputs of given shapes."""
    import cv2

    cv2.setNumThreads(threads)
    with TemporaryDirectory() as folder:
        fixed = write_fixed_shapes(path, shapes, Path(folder))
        network = cv2.dnn.readNetFromONNX(str(fixed))
        graph = onnx.load(fixed, load_external_data=False).graph
    known = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in known]
    outputs = [value.name for value in graph.output]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for name, array in zip(inputs, arrays, strict=True):
            network.setInput(np.ascontiguousarray(array), name)
        # Copied: the next run writes to the memory of these arrays.
        return [np.array(output) for output in network.forward(outputs)]

    return run


def opencv_version() -> str:
    """The installed version."""
    import cv2

    # Not from the distribution: there are several, with and without a GUI.
    return str(cv2.__version__)
