"""Peak memory of a whole conversion, per byte of the checkpoint.

    python benchmarks/peak_memory.py [--markdown FILE] [MEGABYTES ...]

The network is nearly all weights (see wide_network.py). Every figure is that of a process of its
own: the largest resident set (VmHWM) minus that of the conversion of a network of 0.1 MB, which
loads the same modules. Beside ``ssn-prune convert``, verification included:

- as a function: ``ssn_prune.convert`` in a program that keeps its network;
- opening: nothing but a session of the file that convert wrote, in ONNX Runtime;
- bare: ``torch.onnx.export(dynamo=True)`` of the concrete network, with embedded weights up to
  2 GB, and one run in ONNX Runtime beside the torch network.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import heading
from wide_network import WideNetwork, wide_network, width_of

from ssn_prune import prune

SMALL = 0.1
KINDS = ("convert", "opening", "function", "bare")
# The first lines of each process: its last argument is a file for the peak at its end.
_REPORT = """
import atexit, pathlib, re, sys
def report(target=sys.argv.pop()):
    found = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
    pathlib.Path(target).write_text(found[1])
atexit.register(report)
"""
CONVERT = f"""{_REPORT}
from ssn_prune.cli.app import main
checkpoint, arguments, target = sys.argv[1:]
sys.argv[1:] = ["convert", checkpoint, "--arch", "wide_network:WideNetwork", "--arch-args",
                arguments, "-o", target, "--force", "--quiet"]
main()
"""
FUNCTION = f"""{_REPORT}
import json, ssn_prune
checkpoint, arguments, target = sys.argv[1:]
loaded = ssn_prune.load_checkpoint(checkpoint, arch="wide_network:WideNetwork",
                                   arch_args=json.loads(arguments))
ssn_prune.convert(loaded, target, force=True)
"""
OPENING = f"""{_REPORT}
import ssn_prune.cli.app, ssn_prune.conversion
from ssn_prune.memory import run_returning_blocks
from ssn_prune.verification.session import open_session
run_returning_blocks(open_session, pathlib.Path(sys.argv[1]), "the file")
"""
BARE = f"""{_REPORT}
import torch, onnxruntime
concrete, target, external = sys.argv[1:]
model = torch.load(concrete, weights_only=False).eval()
x = torch.randn(2, 3, 16, 16)
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


def measure(megabytes: float, folder: Path) -> dict[str, tuple[float, int]]:
    """Seconds and peaks of every kind, and the size of the checkpoint."""
    checkpoint, concrete, target = (str(folder / name) for name in ("c.pth", "c.pt", "c.onnx"))
    code = (
        "import sys; from peak_memory import write; "
        "write(float(sys.argv[1]), sys.argv[2], sys.argv[3])"
    )
    command = [sys.executable, "-c", code, str(megabytes), checkpoint, concrete]
    subprocess.run(command, cwd=Path(__file__).parent, check=True)
    width = width_of(megabytes)
    return {
        "size": (0.0, Path(checkpoint).stat().st_size),
        "convert": peak(CONVERT, checkpoint, f'{{"width": {width}}}', target),
        "opening": peak(OPENING, target),
        "function": peak(FUNCTION, checkpoint, f'{{"width": {width}}}', target),
        "bare": peak(BARE, concrete, target, str(int(megabytes > 2000))),
    }


def write(megabytes: float, checkpoint: str, concrete: str) -> None:
    """A checkpoint, and the concrete network for the bare export."""
    model = wide_network(megabytes)
    assert isinstance(model, WideNetwork)
    torch.save(model.state_dict(), checkpoint)
    torch.save(prune(model, torch.randn(2, 3, 16, 16)).model, concrete)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megabytes", type=float, nargs="*", default=[50, 200, 800, 2300])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [
        "| checkpoint | convert, bytes per byte | opening | as a function | bare "
        "| convert, s | bare, s |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        base = measure(SMALL, Path(name))
        print("\n".join(lines))
        for megabytes in options.megabytes:
            found = measure(megabytes, Path(name))
            size = found["size"][1]
            shares = {kind: (found[kind][1] - base[kind][1]) / size for kind in KINDS}
            lines.append(
                f"| {size / 1e6:.0f} MB | {shares['convert']:.2f} | {shares['opening']:.2f} | "
                f"{shares['function']:.2f} | {shares['bare']:.2f} | "
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
