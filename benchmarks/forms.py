"""Latency of candidate forms of a normalizer, alone on one tensor.

    python benchmarks/forms.py [--runs 60] [--markdown FILE] [SHAPE ...]

For each group of pairs there are the candidates that are exact, as ONNX text. Each is timed in ONNX
Runtime and OpenVINO (CPU, one thread, one sample), followed by a ReLU, all candidates alternately;
the figure is the median minus that of the ReLU alone. ``x`` is a computed value, not the network's
input, so that a runtime may reuse its memory. The forms that the package uses are marked. Where the
text has no operator for the scale or the mean, it is assumed to fold into the preceding
convolution.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import onnx
import openvino
from machine import heading
from onnx import numpy_helper, parser

from ssn_prune.runtime.measuring import time_in_turns
from ssn_prune.runtime.sessions import open_session

SHAPES = ("64x112x112", "64x56x56", "128x28x28", "256x14x14", "512x7x7")

_MEAN = "m = ReduceMean(x, sp)\n"
_TWO_PASS = _MEAN + "d = Sub(x, m)\nd2 = Mul(d, d)\nv = ReduceMean(d2, sp)\n"
_SCALE = "ve = Add(v, eps)\nsd = Sqrt(ve)\ns = Div(wc, sd)\n"
_LN = "mu = ReduceMean(m, ch)\n"
_LN_DIRECT = (
    _MEAN
    + _LN
    + "d = Sub(x, mu)\nd2 = Mul(d, d)\nvc = ReduceMean(d2, sp)\nv = ReduceMean(vc, ch)\n"
)
_LN_SPREAD = (
    _TWO_PASS.replace("v =", "vi =")
    + _LN
    + "g = Sub(m, mu)\ng2 = Mul(g, g)\nw1 = Add(vi, g2)\nv = ReduceMean(w1, ch)\n"
)
_LN_CORRECTED = _LN_SPREAD.replace("w1 = Add(vi, g2)", "vc = Mul(vi, two)\nw1 = Add(vc, g2)")
_DOT = (
    "a = Reshape(x, rows)\nc = Reshape(x, columns)\nk0 = MatMul(a, c)\nk1 = Reshape(k0, planes)\n"
)
_NORMALIZE = "y = Mul(d, s)\nz = Add(y, bc)"
_PER_SAMPLE = "vf = Reshape(v, flat)\n"
_BATCH_NORM = "z = BatchNormalization(d, w, b, zero, vf)"

CANDIDATES: dict[str, dict[str, str]] = {
    "IN/IN": {
        "InstanceNormalization *": "z = InstanceNormalization<epsilon=1e-5>(x, w, b)",
        "moments": _TWO_PASS + _SCALE + _NORMALIZE,
    },
    "IN/BN": {
        "mean, Sub, Add": _MEAN + "d = Sub(x, m)\nz = Add(d, bc)",
        "mean - bias, Sub *": _MEAN + "t = Sub(m, bc)\nz = Sub(x, t)",
        "GlobalAveragePool": "m = GlobalAveragePool(x)\nt = Sub(m, bc)\nz = Sub(x, t)",
    },
    "LN/BN": {
        "product and sum *": _MEAN
        + "p = Mul(m, wc)\nq = ReduceSum(p, ch)\nr = Mul(q, wc)\nt = Sub(r, bc)\nz = Sub(x, t)",
        "1x1 convolution": "m = ReduceMean(x, sp)\nt = Conv(m, kernel, b)\nz = Add(x, t)",
    },
    "variance": {
        "centred square *": _TWO_PASS + "z = Add(x, v)",
        "square minus mean^2": _MEAN
        + "d2 = Mul(x, x)\nv1 = ReduceMean(d2, sp)\nmm = Mul(m, m)\nv = Sub(v1, mm)\nz = Add(x, v)",
        "ReduceSumSquare": _MEAN + "d = Sub(x, m)\nv = ReduceSumSquare(d, sp)\nz = Add(x, v)",
        "Pow": _MEAN + "d = Sub(x, m)\nd2 = Pow(d, two)\nv = ReduceMean(d2, sp)\nz = Add(x, v)",
        "dot product": _MEAN + _DOT + "mm = Mul(m, m)\nv = Sub(k1, mm)\nz = Add(x, v)",
        "GlobalAveragePool": "m = GlobalAveragePool(x)\nd = Sub(x, m)\nd2 = Mul(d, d)\n"
        "v = GlobalAveragePool(d2)\nz = Add(x, v)",
    },
    "BN/IN": {
        "product, sum *": _TWO_PASS + _SCALE + "y = Mul(x, s)\nz = Add(y, bc)",
        "one sample: BatchNormalization *": _TWO_PASS
        + _PER_SAMPLE
        + "z = BatchNormalization(x, w, b, zero, vf)",
    },
    "LN/IN": {
        "x - mean, product, sum (small) *": _TWO_PASS
        + _SCALE
        + _LN
        + "e = Sub(x, mu)\ny = Mul(e, s)\nz = Add(y, bc)",
        "x scale + shift (large) *": _TWO_PASS
        + _SCALE
        + _LN
        + "k = Mul(mu, s)\nt = Sub(bc, k)\ny = Mul(x, s)\nz = Add(y, t)",
        "one sample: BatchNormalization *": _TWO_PASS
        + _LN
        + "k = Sub(mu, m)\nkf = Reshape(k, flat)\n"
        + _PER_SAMPLE
        + "z = BatchNormalization(d, w, b, kf, vf)",
    },
    "LN/LN": {
        "centred square *": _LN_DIRECT + _SCALE + _NORMALIZE,
        "moments of planes": _LN_SPREAD + _SCALE + "e = Sub(x, mu)\ny = Mul(e, s)\nz = Add(y, bc)",
        "one sample: BatchNormalization *": _LN_DIRECT
        + "v1 = Reshape(v, flat)\nvf = Expand(v1, channels)\n"
        + _BATCH_NORM,
        "GroupNorm as torch exports it": "xr = Reshape(x, row)\n"
        "q = InstanceNormalization<epsilon=1e-5>(xr, one1, zero1)\nqr = Reshape(q, shape)\n"
        "y = Mul(qr, wc)\nz = Add(y, bc)",
        "LayerNormalization": "z = LayerNormalization<axis=1, epsilon=1e-5>(x, wfull, bfull)",
    },
    "IN/LN": {
        "moments of planes *": _LN_SPREAD + _SCALE + _NORMALIZE,
        "one sample: BatchNormalization *": _LN_SPREAD
        + "v1 = Reshape(v, flat)\nvf = Expand(v1, channels)\n"
        + _BATCH_NORM,
    },
    "BN/LN": {
        "centred square *": _LN_DIRECT + _SCALE + "y = Mul(x, s)\nz = Add(y, bc)",
        "one sample: BatchNormalization *": _LN_DIRECT
        + "v1 = Reshape(v, flat)\nvf = Expand(v1, channels)\n"
        + "z = BatchNormalization(x, w, b, zero, vf)",
        "corrected: moments of planes *": _LN_CORRECTED
        + _SCALE
        + "y = Mul(x, s)\nz = Add(y, bc)",
    },
}  # fmt: skip


def model(body: str, shape: tuple[int, int, int]) -> bytes:
    """A graph of one candidate."""
    c, h, w = shape
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
g (float[1,{c},{h},{w}] x0) => (float[1,{c},{h},{w}] out) {{
x = Add(x0, half)
{body}
out = Relu(z)
}}"""
    graph = parser.parse_model(text)
    rng = np.random.default_rng(0)
    sizes = {"w": (c,), "b": (c,), "wc": (1, c, 1, 1), "bc": (1, c, 1, 1), "wfull": shape}
    sizes |= {"bfull": shape, "kernel": (c, c, 1, 1)}
    values = {name: (0.5 + rng.random(size)).astype(np.float32) for name, size in sizes.items()}
    values |= {"zero": np.zeros(c, np.float32), "eps": np.float32(1e-5), "two": np.float32(2)}
    values |= {"half": np.float32(0.5), "one1": np.ones(1, np.float32)}
    values |= {"zero1": np.zeros(1, np.float32), "sp": np.array([2, 3]), "ch": np.array([1])}
    values |= {"flat": np.array([-1]), "channels": np.array([c]), "row": np.array([0, 1, -1])}
    values |= {"shape": np.array([0, c, h, w]), "planes": np.array([1, c, 1, 1])}
    values |= {"rows": np.array([1, c, 1, h * w]), "columns": np.array([1, c, h * w, 1])}
    used = {name for node in graph.graph.node for name in node.input}
    for name in sorted(used & set(values)):
        graph.graph.initializer.append(numpy_helper.from_array(np.asarray(values[name]), name))
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def onnxruntime_runner(data: bytes, x: np.ndarray):
    session = open_session(data, "a candidate")
    return lambda: session.run(None, {"x0": x})


def openvino_runner(data: bytes, x: np.ndarray):
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(core.read_model(data), "CPU", settings).create_infer_request()
    return lambda: request.infer([x])


RUNTIMES = {"ONNX Runtime": onnxruntime_runner, "OpenVINO": openvino_runner}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("shapes", nargs="*", default=SHAPES)
    arguments.add_argument("--runs", type=int, default=60)
    arguments.add_argument("--markdown", type=Path)
    options = arguments.parse_args()
    lines: list[str] = []
    for runtime, make in RUNTIMES.items():
        columns: dict[str, dict[str, float]] = {}
        for shape in options.shapes:
            c, h, w = (int(part) for part in shape.split("x"))
            x = np.random.default_rng(1).standard_normal((1, c, h, w)).astype(np.float32)
            bodies = {"": "z = Identity(x)"}
            bodies |= {
                f"{pair} | {name}": body
                for pair, forms in CANDIDATES.items()
                for name, body in forms.items()
            }
            runners = {name: make(model(body, (c, h, w)), x) for name, body in bodies.items()}
            times = time_in_turns(runners, options.runs)
            found = {name: 1e6 * statistics.median(values) for name, values in times.items()}
            columns[shape] = {name: value - found[""] for name, value in found.items() if name}
        lines += ["", f"## {runtime}, microseconds", ""]
        lines += [f"| pair | form | {' | '.join(options.shapes)} |"]
        lines += ["|" + "---|" * (2 + len(options.shapes))]
        for name in columns[options.shapes[0]]:
            cells = " | ".join(f"{columns[shape][name]:.0f}" for shape in options.shapes)
            lines.append(f"| {name} | {cells} |")
    text = "\n".join(lines)
    print(text)
    if options.markdown:
        how = f"one thread, one sample, medians of {options.runs} alternating runs; * is taken"
        options.markdown.write_text(heading("Forms of a normalizer", "forms.py", how) + text + "\n")


if __name__ == "__main__":
    main()
