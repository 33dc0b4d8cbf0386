"""What releases of ONNX Runtime read, measured with the packages.

    python benchmarks/onnx_runtime_versions.py [--python PYTHON] 1.15.1 1.16.3 ...

This installs each release into a temporary folder and prints a row of the table in
``ssn_prune/runtime/onnx_runtime_versions.py``. The row has the newest opset and format version,
which the runtime names when it refuses a newer one (1.7 and 1.8 name no format version), and the
opsets in which a converted network gives the right outputs. Old releases need an old ``--python``:
3.8 for 1.7 to 1.14.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, save

import ssn_prune
from ssn_prune.architectures.digits import DigitsNet

NUMPY = {"3.8": "1.24.4", "3.9": "1.26.4", "3.10": "1.26.4", "3.11": "1.26.4", "3.12": "1.26.4"}
WORKER = """
import re
import numpy as np, onnxruntime
def run(name):
    s = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    return s.run(None, {"x" if name[0] == "_" else "input": x})[0]
def refusal(name, pattern):
    try:
        run(name)
    except Exception as error:
        found = re.search(pattern, str(error))
        return int(found[1]) if found else str(error)
x, y = np.load("x.npy"), np.load("y.npy")
LATEST = r"max supported IR version: (\\d+)"
limits = [refusal("_opset.onnx", r"till opset (\\d+)"), refusal("_ir.onnx", LATEST)]
right = []
for opset in range(13, 22):
    try:
        if abs(run("%d.onnx" % opset) - y).max() < 1e-5 * abs(y).max():
            right.append(opset)
    except Exception:  # a release that does not read it refuses it, each in its own way
        continue
print(onnxruntime.__version__, "opset, IR:", limits, "right in", right)
"""


def too_new(path: Path, opset: int, ir_version: int) -> None:
    """Write a file that every release refuses."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    save(model, path)


def files(folder: Path) -> None:
    """Write a network with random selections in every opset, and its outputs."""
    torch.manual_seed(0)
    network = DigitsNet()
    ssn_prune.set_radius(network, 1.0)
    for module in network.modules():
        if isinstance(module, ssn_prune.SSN2d):
            with torch.no_grad():
                module.mean_weight.copy_(torch.randn(3))
                module.var_weight.copy_(torch.randn(3))
    network.eval()
    checkpoint = folder / "net.pth"
    torch.save({"arch": "ssn_prune_digits", "state_dict": network.state_dict()}, checkpoint)
    loaded = ssn_prune.load_checkpoint(checkpoint)
    x = torch.randn(2, 1, 16, 16)
    np.save(folder / "x.npy", x.numpy())
    np.save(folder / "y.npy", loaded.model.eval()(x).detach().numpy())
    for opset in range(13, 22):
        options = ssn_prune.ConvertOptions(opset=opset)
        ssn_prune.convert(loaded, folder / f"{opset}.onnx", options)
    too_new(folder / "_opset.onnx", 99, 4)
    too_new(folder / "_ir.onnx", 13, 99)


def measure(python: str, version: str, folder: Path) -> str:
    """One row of the table, or pip's error."""
    minor = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with tempfile.TemporaryDirectory() as target:
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
        numpy = f"numpy=={NUMPY.get(minor, np.__version__)}"
        done = subprocess.run(
            [*pip, "--only-binary", ":all:", f"onnxruntime=={version}", numpy],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return f"{version}: {done.stderr.strip().splitlines()[-1]}"
        code = f"import sys; sys.path.insert(0, {target!r})\n{WORKER}"
        done = subprocess.run(
            [python, "-c", code], cwd=folder, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() or done.stderr.strip()


def main() -> None:
    """Print a row for every release."""
    parser = argparse.ArgumentParser(description="What releases of ONNX Runtime read.")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("versions", nargs="+")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files(Path(folder))
        for version in args.versions:
            print(measure(args.python, version, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
