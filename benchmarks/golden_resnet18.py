"""Convert the trained reference checkpoint, compare its logits, and time the result.

    python benchmarks/golden_resnet18.py CHECKPOINT IO [--runs 40] [--markdown FILE]

IO holds held-out inputs with the logits of the authors' own network. Latency: ONNX Runtime, CPU,
one thread, batch 1, 224x224; the networks are timed alternately in one process and compared by
the ratio of their medians. "All statistics" is the same network with its gates as constants and the
IN, LN and BN statistics all computed in every layer, exported in the same way.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from torch import nn

from ssn_prune import convert, export_onnx, load_checkpoint
from ssn_prune.graph.counting import weighted_form
from ssn_prune.layers.copying import copy_model, replace_module
from ssn_prune.layers.switchable import SwitchableNorm
from ssn_prune.verification.rounding import rounding_bound


def without_norms(model: nn.Module, keep_all_statistics: bool) -> nn.Module:
    """Replace every layer by nothing, or by the form that computes all statistics."""
    result = copy_model(model)
    for layer in [m for m in result.modules() if isinstance(m, SwitchableNorm)]:
        target = weighted_form(layer).eval() if keep_all_statistics else nn.Identity()
        replace_module(result, layer, target)
    if not keep_all_statistics:
        for conv in [m for m in result.modules() if isinstance(m, nn.Conv2d)]:
            conv.bias = nn.Parameter(torch.zeros(conv.out_channels))
    return result


def session(path: Path) -> onnxruntime.InferenceSession:
    """One thread: more would spin against whatever else runs on the machine."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def openvino_logits(path: Path, x: np.ndarray) -> np.ndarray:
    """The same file in OpenVINO on the CPU, in float32 (it may choose bfloat16 otherwise)."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return compiled([x])[compiled.outputs[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("io", type=Path)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    loaded = load_checkpoint(arguments.checkpoint)
    io = torch.load(arguments.io, weights_only=True)
    x = io["x"].float().repeat(1, 3, 1, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        report = convert(loaded, folder / "pruned.onnx")
        elapsed = time.perf_counter() - start
        nodes = {"pruned": report.onnx.nodes if report.onnx else 0}
        for label, keep in (("no norms", False), ("all statistics", True)):
            model = without_norms(loaded.model, keep)
            nodes[label] = export_onnx(model, x[:2], folder / f"{label}.onnx").nodes
        sessions = {label: session(folder / f"{label}.onnx") for label in nodes}
        (logits,) = sessions["pruned"].run(None, {"input": x.numpy()})
        second = openvino_logits(folder / "pruned.onnx", x.numpy())
        one = {"input": x[:1].numpy()}
        times: dict[str, list[float]] = {label: [] for label in sessions}
        for turn in range(arguments.runs + 3):
            for label, runner in sessions.items():
                start = time.perf_counter()
                runner.run(None, one)
                if turn >= 3:
                    times[label].append(time.perf_counter() - start)
    exact = io["logits_f64"].numpy()
    error = float(np.abs(logits - exact).max())
    own = float(np.abs(io["logits"].numpy() - exact).max())
    bound = rounding_bound(own, float(np.abs(exact).max()))
    right = int((logits.argmax(1) == io["labels"].numpy()).sum())
    medians = {label: statistics.median(values) for label, values in times.items()}
    base = medians["no norms"]
    lines = [
        "| network | ONNX nodes | latency, ms | ratio to no norms |",
        "|---|---|---|---|",
        *(
            f"| {label} | {nodes[label]} | {1e3 * seconds:.1f} | {seconds / base:.2f} |"
            for label, seconds in sorted(medians.items(), key=lambda item: -item[1])
        ),
        "",
        f"Logits on {len(x)} held-out inputs: off by {error:.2e} from the authors' network in "
        f"float64; its own float32 error is {own:.2e}, the bound {bound:.2e}. "
        f"{right} of {len(x)} labels are right. OpenVINO {version('openvino')} is off by "
        f"{float(np.abs(second - exact).max()):.2e}. Conversion and verification: {elapsed:.1f} s.",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.markdown:
        versions = (
            f"torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, "
            f"{platform.machine()} CPU, 1 thread, batch 1, medians of {arguments.runs} alternating "
            f"runs, {date.today()}"
        )
        heading = "# The trained reference ResNet-18\n\n`python benchmarks/golden_resnet18.py"
        arguments.markdown.write_text(f"{heading} CHECKPOINT IO`: {versions}.\n\n{text}\n")


if __name__ == "__main__":
    main()
