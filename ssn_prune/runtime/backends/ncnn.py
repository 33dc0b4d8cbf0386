"""ncnn on the CPU, with the converter pnnx."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from ssn_prune.runtime.backends.fixed_shapes import write_fixed_shapes
from ssn_prune.runtime.backends.interface import OpenFile


def open_ncnn(path: Path, shapes: Sequence[tuple[int, ...]], threads: int) -> OpenFile:
    """Convert a file for single samples, and open the result: ncnn has no batches.

    By default pnnx stores weights in float16, and ncnn computes in float16 where it can.
    """
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_fp16_packed = network.opt.use_fp16_storage = False
    network.opt.use_fp16_arithmetic = network.opt.use_bf16_storage = False
    with TemporaryDirectory() as name:
        folder = Path(name)
        single = write_fixed_shapes(path, [(1, *shape[1:]) for shape in shapes], folder)
        outputs = len(onnx.load(single, load_external_data=False).graph.output)
        ran = subprocess.run(
            [_converter(), single.name, "fp16=0", "ncnnparam=file.param", "ncnnbin=file.bin"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        param, weights = folder / "file.param", folder / "file.bin"
        if ran.returncode or not param.exists():
            last = (ran.stdout.strip() or "no file").splitlines()[-1]
            raise RuntimeError(f"pnnx ended with status {ran.returncode}: {last}")
        if network.load_param(str(param)) or network.load_model(str(weights)):
            raise RuntimeError("ncnn cannot load what pnnx wrote")

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        samples = [_run_one(network, one, outputs) for one in zip(*arrays, strict=True)]
        return [np.stack(parts) for parts in zip(*samples, strict=True)]

    return run


def _run_one(network: Any, sample: Sequence[np.ndarray], outputs: int) -> list[np.ndarray]:
    import ncnn

    with network.create_extractor() as extractor:
        for index, array in enumerate(sample):
            extractor.input(f"in{index}", ncnn.Mat(np.ascontiguousarray(array)).clone())
        found = []
        for index in range(outputs):
            status, value = extractor.extract(f"out{index}")
            if status:
                raise RuntimeError(f"ncnn gives no output {index}: status {status}")
            found.append(np.array(value))
        return found


def _converter() -> str:
    """The path of the converter; importing its Python module would import torch."""
    spec = find_spec("pnnx")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("pnnx is not installed")
    return str(Path(spec.submodule_search_locations[0]) / "pnnx")


def ncnn_version() -> str:
    """The installed versions."""
    return f"{metadata.version('ncnn')}, pnnx {metadata.version('pnnx')}"
