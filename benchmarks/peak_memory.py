"""Peak memory of a whole conversion, per byte of the checkpoint, compared with a bare export.

    python benchmarks/peak_memory.py [--markdown FILE] [MEGABYTES or ARCH ...]

MEGABYTES stands for a network that is nearly all weights (see wide_network.py), ARCH, such as
``torchvision:resnet152``, for one whose activations count, too (see conversion_cost.py). Every
figure comes from a process of its own: the peak resident set (VmHWM) minus that of the same process
for a network of 0.1 MB, which loads the same modules, but not torchvision.

- convert: ``ssn-prune convert``, verification included;
- bare: ``torch.onnx.export(dynamo=True)`` of the concrete network, with embedded weights up to
  2 GB, and one run each of the file in ONNX Runtime and of the torch network.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from conversion_cost import write_inputs
from machine import heading
from wide_network import WideNetwork, wide_network, width_of

from ssn_prune import prune

SMALL = "0.1"
NETWORKS = ("50", "200", "800", "2300", "torchvision:resnet152")
KINDS = ("convert", "bare")
# The first lines of each process: its last argument is a file for the peak at its end.
_REPORT = """
import atexit, pathlib, re, sys
def report(target=sys.argv.pop()):
    found = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
    pathlib.Path(target).write_text(found[1])
atexit.register(report)
"""
CONVERT = f"""{_REPORT}
from ssn_prune.__main__ import main
checkpoint, arch, arguments, target = sys.argv[1:]
sys.argv[1:] = ["convert", checkpoint, "--arch", arch, "--arch-args", arguments, "-o", target,
                "--force", "--quiet"]
main()
"""
BARE = f"""{_REPORT}
import torch, onnxruntime
concrete, size, target, external = sys.argv[1:]
model = torch.load(concrete, weights_only=False).eval()
x = torch.randn(2, 3, int(size), int(size))
torch.onnx.export(model, (x,), target, dynamo=True, verbose=False, opset_version=18,
                  external_data=bool(int(external)))
session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
with torch.no_grad():
    model(x)
session.run(None, {{session.get_inputs()[0].name: x.numpy()}})
"""


def peak(code: str, *arguments: str) -> tuple[float, int]:
    """Seconds and peak bytes of a process that must succeed."""
    folder = Path(__file__).parent
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-c", code, *arguments, file.name]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        return seconds, 1024 * int(Path(file.name).read_text())


def measure(network: str, folder: Path) -> dict[str, tuple[float, int]]:
    """Seconds and peaks of every kind, and the size of the checkpoint."""
    checkpoint, concrete, target = (
        str(folder / name) for name in ("checkpoint.pth", "concrete.pt", "c.onnx")
    )
    code = "import sys; from peak_memory import write; write(sys.argv[1], sys.argv[2])"
    command = [sys.executable, "-c", code, network, str(folder)]
    subprocess.run(command, cwd=Path(__file__).parent, check=True)
    if ":" in network:
        arch, arguments, size = network, "{}", "224"
    else:
        width = width_of(float(network))
        arch, arguments, size = "wide_network:WideNetwork", f'{{"width": {width}}}', "16"
    weights = Path(checkpoint).stat().st_size
    external = str(int(weights > 2e9))
    return {
        "size": (0.0, weights),
        "convert": peak(CONVERT, checkpoint, arch, arguments, target),
        "bare": peak(BARE, concrete, size, target, external),
    }


def write(network: str, folder: str) -> None:
    """A checkpoint, and the concrete network for the bare export."""
    if ":" in network:
        write_inputs(network, Path(folder))
        return
    model = wide_network(float(network))
    assert isinstance(model, WideNetwork)
    torch.save(model.state_dict(), Path(folder) / "checkpoint.pth")
    torch.save(prune(model, torch.randn(2, 3, 16, 16)).model, Path(folder) / "concrete.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [
        "| checkpoint | convert, bytes per byte | bare | ratio | convert, s | bare, s |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        base = measure(SMALL, Path(name))
        print("\n".join(lines))
        for network in options.networks:
            found = measure(network, Path(name))
            label = f"{network}, " if ":" in network else ""
            size = found["size"][1]
            shares = {kind: (found[kind][1] - base[kind][1]) / size for kind in KINDS}
            lines.append(
                f"| {label}{size / 1e6:.0f} MB | {shares['convert']:.2f} | "
                f"{shares['bare']:.2f} | {shares['convert'] / shares['bare']:.2f} | "
                f"{found['convert'][0]:.1f} | {found['bare'][0]:.1f} |"
            )
            print(lines[-1], flush=True)
    bases = ", ".join(f"{kind} {base[kind][1] / 1e6:.0f} MB" for kind in KINDS)
    lines += ["", f"Base lines (a network of {SMALL} MB): {bases}."]
    print(lines[-1])
    if options.markdown:
        title = heading("Peak memory of a conversion", "peak_memory.py", "one run each")
        options.markdown.write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
