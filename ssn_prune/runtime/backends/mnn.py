"""MNN on the CPU, with the converter that comes with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from ssn_prune.runtime.backends.fixed_shapes import write_fixed_shapes
from ssn_prune.runtime.backends.interface import OpenFile


def open_mnn(path: Path, shapes: Sequence[tuple[int, ...]], threads: int) -> OpenFile:
    """Convert a file for inputs of given shapes, and open the result."""
    # This is what MNN.tools.mnnconvert calls; that module also sends usage reports.
    import _tools
    import MNN
    import MNN.expr
    import MNN.nn

    with TemporaryDirectory() as folder:
        fixed = write_fixed_shapes(path, shapes, Path(folder))
        graph = onnx.load(fixed, load_external_data=False).graph
        known = {tensor.name for tensor in graph.initializer}
        inputs = [value.name for value in graph.input if value.name not in known]
        outputs = [value.name for value in graph.output]
        # MNN computes 1-d networks as 2-d ones, and leaves the axis of size 1 in place.
        sizes = [
            [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.output
        ]
        converted = str(Path(folder) / "converted.mnn")
        options = {"framework": "ONNX", "modelFile": str(fixed), "MNNModel": converted}
        options |= {"bizCode": "none"}
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        _tools.mnnconvert(["mnnconvert", *words])
        module = MNN.nn.load_module_from_file(
            converted,
            inputs,
            outputs,
            precision_mode=MNN.expr.PrecisionMode.High,
            thread_num=threads,
        )

    kinds = {"float32": MNN.expr.float, "uint8": MNN.expr.uint8}

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = [
            MNN.expr.const(array, list(array.shape), MNN.expr.NCHW, kinds[array.dtype.name])
            for array in arrays
        ]
        found = [MNN.expr.convert(value, MNN.expr.NCHW).read() for value in module.onForward(given)]
        return [np.array(value).reshape(shape) for value, shape in zip(found, sizes, strict=True)]

    return run


def mnn_version() -> str:
    """The installed version."""
    return metadata.version("MNN")
