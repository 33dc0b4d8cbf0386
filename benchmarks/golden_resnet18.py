"""Convert the trained reference checkpoint, compare its logits, and time the result.

    python benchmarks/golden_resnet18.py CHECKPOINT IO [--runs 40] [--markdown FILE]

IO holds held-out inputs with the logits of the reference implementation's own network. Latency:
ONNX Runtime, CPU, one thread, batch 1, 224x224; the networks are timed alternately in one process
and compared by the ratio of their medians. "All statistics" is the same network with its gates as
constants and the IN, LN and BN statistics all computed in every layer, exported in the same way.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino
import torch
from machine import heading

from ssn_prune import convert, export_onnx, load_checkpoint
from ssn_prune.benchmarking.networks import with_all_statistics, without_norms
from ssn_prune.conversion import ConvertOptions
from ssn_prune.runtime.measuring import runner_of, time_in_turns
from ssn_prune.runtime.sessions import open_session
from ssn_prune.verification.compare import rounding_bound

ONE_SAMPLE = {
    "pruned, one sample": "portable",
    "pruned, one sample, for ONNX Runtime": "onnxruntime",
}


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
        for label, target in ONE_SAMPLE.items():
            options = ConvertOptions(algebra=False, rounding=False, target=target, static_batch=1)
            fixed = convert(loaded, folder / f"{label}.onnx", options)
            nodes[label] = fixed.onnx.nodes if fixed.onnx else 0
        for label, change in (("no norms", without_norms), ("all statistics", with_all_statistics)):
            model = change(loaded.model)
            nodes[label] = export_onnx(model, x[:2], folder / f"{label}.onnx").nodes
        (logits,) = open_session(folder / "pruned.onnx", "pruned").run(None, {"input": x.numpy()})
        second = openvino_logits(folder / "pruned.onnx", x.numpy())
        feed = {"input": x[:1].numpy()}
        runners = {
            label: runner_of(folder / f"{label}.onnx", label, threads=1, feed=feed)[0]
            for label in nodes
        }
        times = time_in_turns(runners, arguments.runs)
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
            f"| {label} | {nodes[label]} | {1e3 * seconds:.1f} | {seconds / base:.3f} |"
            for label, seconds in sorted(medians.items(), key=lambda item: -item[1])
        ),
        "",
        f"Logits on {len(x)} held-out inputs: off by {error:.2e} from the reference network in "
        f"float64; its own float32 error is {own:.2e}, the bound {bound:.2e}. "
        f"{right} of {len(x)} labels are right. OpenVINO {version('openvino')} is off by "
        f"{float(np.abs(second - exact).max()):.2e}. Conversion and verification: {elapsed:.1f} s.",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.markdown:
        how = f"one thread, batch 1, medians of {arguments.runs} runs taking turns"
        title = heading("The trained reference ResNet-18", "golden_resnet18.py CHECKPOINT IO", how)
        arguments.markdown.write_text(f"{title}{text}\n")


if __name__ == "__main__":
    main()
