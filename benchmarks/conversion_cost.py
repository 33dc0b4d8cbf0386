"""Time of a whole conversion, compared with a bare export of the concrete network.

    python benchmarks/conversion_cost.py [--repeats 3] [--steps ARCH] [--markdown FILE] [ARCH ...]

Every figure comes from a process of its own; the two kinds are started alternately:

- convert: ``ssn-prune convert``, verification included.
- bare: a script that loads the already concrete network, runs ``torch.onnx.export(dynamo=True)``
  with a dynamic batch, as convert does, and compares the file with the network in one run of each.

Times are wall times, and the ratio is that of medians. The checkpoints are made here, with random
selections over all nine pairs (see networks.py); for memory see peak_memory.py. ``--steps`` also
shows where the conversion of one network spends its time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from machine import heading
from networks import prepare

from ssn_prune import convert, load_checkpoint, prune
from ssn_prune.architectures.registry import find_architecture

ARCHS = (
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:resnet152",
    "torchvision:densenet121",
    "torchvision:densenet201",
)
BARE = """
import sys, torch, onnxruntime
model = torch.load(sys.argv[1], weights_only=False).eval()
x = torch.randn(2, 3, 224, 224)
shapes = ({0: torch.export.Dim("batch")},)
torch.onnx.export(model, (x,), sys.argv[2], dynamo=True, dynamic_shapes=shapes, verbose=False,
                  opset_version=18, external_data=False)
with torch.no_grad():
    expected = model(x)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
(found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
assert abs(found - expected.numpy()).max() <= 1e-3 * abs(found).max()
"""


def run(arguments: list[str]) -> float:
    """Wall time of a process that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[:4])} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def write_inputs(arch: str, folder: Path) -> None:
    """A checkpoint for convert, and the concrete network for the bare script."""
    torch.manual_seed(0)
    model = find_architecture(arch, trusted=True).build(num_classes=1000).eval()
    x = torch.randn(2, 3, 224, 224)
    prepare(model, x, seed=0, avoid_undefined=True)
    torch.save(model.state_dict(), folder / "checkpoint.pth")
    torch.save(prune(model, x).model, folder / "concrete.pt")


def measure(arch: str, repeats: int) -> str:
    """One line of the table."""
    python = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([python, __file__, "--write", arch, name])
        checkpoint, concrete = folder / "checkpoint.pth", folder / "concrete.pt"
        convert = [python, "-m", "ssn_prune", "convert", str(checkpoint), "--arch", arch]
        commands = {
            "convert": [*convert, "-o", str(folder / "ours.onnx"), "--force", "--quiet"],
            "bare": [python, "-c", BARE, str(concrete), str(folder / "bare.onnx")],
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in commands}
        for _ in range(repeats):
            for kind, command in commands.items():
                seconds[kind].append(run(command))
        size = checkpoint.stat().st_size
    ours, bare = (statistics.median(seconds[kind]) for kind in ("convert", "bare"))
    return f"| {arch} | {size / 1e6:.0f} MB | {ours:.1f} | {bare:.1f} | {ours / bare:.2f} |"


def steps_of(arch: str) -> list[str]:
    """A table of the steps of one conversion in this process, as ``progress`` reports them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([sys.executable, __file__, "--write", arch, name])
        begun = [("loading", time.perf_counter())]
        loaded = load_checkpoint(folder / "checkpoint.pth", arch=arch)

        def note(step: str) -> None:
            begun.append((step, time.perf_counter()))

        convert(loaded, folder / "ours.onnx", progress=note)
    note("end")
    rows = [f"| {step} | {end - start:.1f} |" for (step, start), (_, end) in pairwise(begun)]
    return ["", f"Steps of {arch}, without imports:", "", "| step | s |", "|---|---|", *rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archs", nargs="*", default=ARCHS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", metavar="ARCH")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_inputs(options.write[0], Path(options.write[1]))
        return
    lines = [
        "| network | checkpoint | convert, s | bare, s | ratio |",
        "|---|---|---|---|---|",
    ]
    for line in lines:
        print(line)
    for arch in options.archs:
        lines.append(measure(arch, options.repeats))
        print(lines[-1], flush=True)
    if options.steps:
        lines += steps_of(options.steps)
        print("\n".join(lines[-20:]))
    if options.markdown:
        title = heading("Cost of a conversion", "conversion_cost.py", f"{options.repeats} runs")
        options.markdown.write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
