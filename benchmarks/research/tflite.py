"""The small networks of the matrix as TFLite files, compared with the networks in float64.

    python benchmarks/research/tflite.py export DIR
    PYTHON benchmarks/research/tflite.py run DIR

The first step runs where ssn_prune is installed, the second in an environment with onnx2tf 1.29.24,
TensorFlow and their dependencies (2.4 GB), which are too large for the matrix. onnx2tf would
download images to calibrate with; noise replaces them.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

NETWORKS = ("vectors", "1-d", "2-d", "3-d")


def export(folder: Path) -> None:
    """Write each network, one input, and the network's output for it."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from runtime_networks import SMALL, network_of, samples_of

    from ssn_prune import convert
    from ssn_prune.conversion import ConvertOptions
    from ssn_prune.surgery.float64 import float64_copy

    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        loaded, x = network_of(name), samples_of(SMALL[name].size, 1)
        with torch.no_grad():
            y = float64_copy(loaded.model)(x.double())
        np.savez(folder / f"{name}.npz", x=x.numpy(), y=y.numpy())
        convert(loaded, folder / f"{name}.onnx", ConvertOptions(target="tflite"), force=True)


def run(folder: Path) -> None:
    """Convert each file, run it, and print its error in units of the largest output."""
    import onnx2tf.onnx2tf
    import onnx2tf.utils.common_functions
    import tensorflow as tf

    for module in (onnx2tf.onnx2tf, onnx2tf.utils.common_functions):
        if hasattr(module, "download_test_image_data"):
            module.download_test_image_data = lambda: np.ones((20, 128, 128, 3), np.float32)
    print(f"onnx2tf {version('onnx2tf')}, TensorFlow {tf.__version__}\n")
    print("| network | error |\n|---|---|")
    for name in NETWORKS:
        known = np.load(folder / f"{name}.npz")
        with tempfile.TemporaryDirectory() as made:
            source = str(folder / f"{name}.onnx")
            onnx2tf.convert(input_onnx_file_path=source, output_folder_path=made, non_verbose=True)
            (path,) = Path(made).glob("*float32.tflite")
            file = tf.lite.Interpreter(model_path=str(path), num_threads=1)
            file.allocate_tensors()
        channels_last = np.moveaxis(known["x"], 1, -1)
        file.set_tensor(file.get_input_details()[0]["index"], np.ascontiguousarray(channels_last))
        file.invoke()
        y = np.moveaxis(file.get_tensor(file.get_output_details()[0]["index"]), -1, 1)
        error = np.abs(y - known["y"]).max() / np.abs(known["y"]).max()
        print(f"| {name} | {error:.1e} |", flush=True)


if __name__ == "__main__":
    {"export": export, "run": run}[sys.argv[1]](Path(sys.argv[2]))
