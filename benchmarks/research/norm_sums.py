"""How exactly runtimes normalize planes: errors by the distance of a channel's mean from 0.

    PYTHONPATH=benchmarks python benchmarks/research/norm_sums.py [--environments DIR] [--write]

Each file has one norm after a depthwise convolution that is the identity, so that runtimes choose
the same memory layout as in a network. Planes have 80x96 positions and a standard deviation of 1.
Errors are in units of the largest output in float64, the largest over three samples. ``--write``
writes ``benchmarks/results/norm_sums.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from machine import heading
from onnx import TensorProto, helper, numpy_helper
from runtime_cells import run_files
from runtime_environments import environment_of, make
from runtime_files import File

RUNTIMES = ("ort", "openvino", "opencv4", "opencv5", "mnn", "tract", "ncnn")
MEANS = (0, 4, 10, 100)
_CHANNELS, _PLANE, _SAMPLES = 32, (80, 96), 3
_EPS = 1e-5
_SHAPE = [1, _CHANNELS, *_PLANE]
_RESULT = Path(__file__).parents[1] / "results" / "norm_sums.md"

WRITTEN_OUT = (
    ("ReduceMean", ["c", "axes"], "mean"),
    ("Sub", ["c", "mean"], "d"),
    ("Mul", ["d", "d"], "square"),
    ("ReduceMean", ["square", "axes"], "var"),
    ("Add", ["var", "eps"], "sum"),
    ("Sqrt", ["sum"], "deviation"),
    ("Div", ["d", "deviation"], "y"),
)
ROW_BY_ROW = (
    ("ReduceMean", ["c", "last"], "rows"),
    ("ReduceMean", ["rows", "rest"], "mean"),
    *WRITTEN_OUT[1:3],
    ("ReduceMean", ["square", "last"], "var_rows"),
    ("ReduceMean", ["var_rows", "rest"], "var"),
    *WRITTEN_OUT[4:],
)
FORMS = {
    "InstanceNormalization": (("InstanceNormalization", ["c", "scale", "shift"], "y"),),
    "written out": WRITTEN_OUT,
    "written out, axis by axis": ROW_BY_ROW,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, help="where they are kept")
    parser.add_argument("--write", action="store_true", help="write the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        files = [
            file
            for mean in MEANS
            for samples, expected in [_samples(mean, Path(name))]
            for file in _files(mean, samples, expected, Path(name))
        ]
        home = options.environments or Path(name) / "environments"
        home.mkdir(parents=True, exist_ok=True)
        errors = {}
        for runtime in RUNTIMES:
            environment = environment_of(runtime)
            make(environment, home)
            folder = Path(name) / "outputs" / runtime
            _, outcomes = run_files(environment, environment.python_in(home), files, folder, 0)
            for file, outcome in outcomes.items():
                failed = outcome.error is None
                shown = outcome.reason if failed else f"{outcome.error:.0e}"
                errors[file.target, file.network, runtime] = shown
    rows = [
        f"| {form} | {mean} | "
        + " | ".join(errors[form, str(mean), runtime] for runtime in RUNTIMES)
        + " |"
        for form in FORMS
        for mean in MEANS
    ]
    head = f"| form | mean | {' | '.join(RUNTIMES)} |\n|{'---|' * (2 + len(RUNTIMES))}\n"
    text = head + "\n".join(rows) + "\n"
    print(text)
    if options.write:
        how = "errors of one norm in units of the largest output"
        title = heading("How exactly runtimes normalize", "research/norm_sums.py", how)
        _RESULT.write_text(title + text)


def _samples(mean: float, folder: Path) -> tuple[Path, Path]:
    """Samples, and the exact outputs."""
    random = np.random.default_rng(0)
    x = (random.standard_normal((_SAMPLES, *_SHAPE[1:])) + mean).astype(np.float32)
    wide = x.astype(np.float64)
    centred = wide - wide.mean((2, 3), keepdims=True)
    y = centred / np.sqrt((centred**2).mean((2, 3), keepdims=True) + _EPS)
    paths = folder / f"{mean}.npy", folder / f"{mean}.npz"
    np.save(paths[0], x)
    np.savez(paths[1], **{"0": y})
    return paths


def _files(mean: float, samples: Path, expected: Path, folder: Path) -> list[File]:
    files = []
    for index, (form, nodes) in enumerate(FORMS.items()):
        path = folder / f"{mean}-{index}.onnx"
        onnx.save(_model(nodes), path)
        files.append(File(str(mean), "fixed", form, path, samples, expected, ""))
    return files


def _model(norm: tuple[tuple[str, list[str], str], ...]) -> onnx.ModelProto:
    kernel = np.zeros((_CHANNELS, 1, 3, 3), np.float32)
    kernel[:, :, 1, 1] = 1
    constants = {
        "kernel": kernel,
        "scale": np.ones(_CHANNELS, np.float32),
        "shift": np.zeros(_CHANNELS, np.float32),
        "axes": np.array([2, 3]),
        "last": np.array([3]),
        "rest": np.array([2]),
        "eps": np.full((1, 1, 1, 1), _EPS, np.float32),
    }
    nodes = [helper.make_node("Conv", ["x", "kernel"], ["c"], group=_CHANNELS, pads=[1] * 4)]
    for kind, inputs, output in norm:
        more = {"ReduceMean": {"keepdims": 1}, "InstanceNormalization": {"epsilon": _EPS}}
        nodes.append(helper.make_node(kind, inputs, [output], **more.get(kind, {})))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, _SHAPE)],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


if __name__ == "__main__":
    main()
