"""Translation to ONNX with torch's decomposition and with ours, for whole architectures.

    python benchmarks/decomposition.py [--markdown FILE] [NAME ...]

NAME is ``torchvision:NAME`` or ``timm:NAME``; by default all networks of docs/architectures.md.
Each gets SSN layers with random selections and statistics of its own, is pruned, and its captured
program is translated twice: after torch's ``run_decompositions``, and after
``ssn_prune.onnx_export.decomposing``. Both graphs are optimised, their operators counted, and both
files run in ONNX Runtime on other inputs of another batch size.
"""

from __future__ import annotations

import argparse
import gc
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from machine import heading
from sweep_models import accepted_inputs, build
from torch import nn

from ssn_prune import convert_to_ssn, prune, recalibrate
from ssn_prune.errors import first_line
from ssn_prune.memory import collector_paused
from ssn_prune.nn.ssn import SSN
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.onnx_export.decomposing import decompose, unknown_operators
from ssn_prune.onnx_export.optimizing import optimize
from ssn_prune.pruning.capture.size_conditions import dynamic_shapes
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output

TABLE = Path(__file__).parents[1] / "docs" / "architectures.md"
HEAD = (
    "| network | ATen operators | decomposed by | ONNX nodes | torch's, s | ours, s | largest "
    "difference of the answers |\n|---|---|---|---|---|---|---|"
)


def prepared(name: str) -> tuple[nn.Module, Any]:
    """A pruned network with random selections, and what makes its inputs."""
    torch.manual_seed(0)
    network = build(name)
    inputs = next(iter(accepted_inputs(name, network)))
    network = convert_to_ssn(network, inplace=True).model
    layers = [module for module in network.modules() if isinstance(module, SSN)]
    order = torch.randperm(len(ALL_PAIRS)).tolist()
    for index, layer in enumerate(layers):
        pair = ALL_PAIRS[order[index % len(order)]]
        layer.fix(pair.mean, pair.var)
    recalibrate(network, [inputs.make(4, 0)])
    return prune(network, inputs.make(2, 0), share_parameters=True).model.eval(), inputs


def captured(model: nn.Module, x: tuple[Any, ...]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    with suppress_tracer_output():
        shapes = dynamic_shapes(model, x, lambda _: {0: batch})
        return torch.export.export(model, x, dynamic_shapes=shapes)


def translated(program: torch.export.ExportedProgram) -> tuple[ir.Model, float]:
    """The optimised graph, and the seconds of the translation alone."""
    start = time.perf_counter()
    with suppress_tracer_output(), collector_paused():
        exported = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    seconds = time.perf_counter() - start
    assert exported is not None
    optimize(exported.model)
    return exported.model, seconds


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.all_nodes())


def answers(model: ir.Model, x: tuple[Any, ...]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, (tensor.numpy() for tensor in x), strict=True)))


def difference(values: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Largest difference, relative to the largest answer."""
    worst = 0.0
    for value, reference in zip(values, expected, strict=True):
        if not (np.isfinite(reference).all() and value.shape == reference.shape):
            return float("nan")
        scale = np.abs(reference).max() or 1.0
        worst = max(worst, float(np.abs(value - reference).max() / scale))
    return worst


def measure(name: str) -> str:
    """One line of the table."""
    model, inputs = prepared(name)
    example = inputs.make(2, 0)
    program = captured(model, example)
    count = sum(node.op == "call_function" for node in program.graph.nodes)
    reference, theirs = translated(program)
    program = captured(model, example)
    unknown = ", ".join(unknown_operators(program))
    done = decompose(program)
    found, ours = translated(program) if done else (reference, theirs)
    by = "ours" if done else f"torch ({unknown or 'writes that are seen'})"
    before, after = operators(reference), operators(found)
    nodes = str(after.total())
    if before != after:
        changes = [f"{kind} {after[kind] - before[kind]:+d}" for kind in before | after]
        nodes += f" ({', '.join(c for c in changes if not c.endswith('+0'))})"
    x = inputs.make(3, 1)
    error = difference(answers(found, x), answers(reference, x)) if done else None
    shown = "" if error is None else f"{error:.1e}" if error else "0"
    times = f"{theirs:.1f} | {ours:.1f}" if done else f"{theirs:.1f} |"
    return f"| {name} | {count} | {by} | {nodes} | {times} | {shown} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = re.findall(r"^\| ((?:torchvision|timm):\S+) \|", TABLE.read_text(), re.M)
    translated(captured(nn.ReLU(), (torch.randn(2, 3),)))  # what every first translation loads
    lines = [HEAD]
    print(HEAD)
    for name in options.names or known:
        try:
            lines.append(measure(name))
        # Networks that torch.export cannot capture are refused with whatever comes up in them.
        except Exception as error:  # noqa: BLE001
            lines.append(f"| {name} | | {type(error).__name__}: {first_line(error)[:60]} | | | | |")
        print(lines[-1], flush=True)
        gc.collect()
    if options.markdown:
        title = heading("Decomposition", "decomposition.py", "one thread, one run each")
        options.markdown.write_text(title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
