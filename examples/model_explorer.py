"""Error and time of every node of a file, as node data for Google's Model Explorer.

    python examples/model_explorer.py model.onnx --images 4

This writes ``model.error.json`` and ``model.time.json`` next to the file. To look at them:

    pip install ai-edge-model-explorer model-explorer-onnx
    model-explorer model.onnx --extensions=model_explorer_onnx

then choose *Add per-node data*. The error of a node is the largest difference between its float32
output in ONNX Runtime and the same output in float64, which ONNX's reference evaluator computes,
divided by the largest value of that output. It is the error accumulated up to the node, not the
node's own. The time is the median over the runs, in microseconds, with the nodes as they are in the
file: ONNX Runtime would fuse some. Both use random inputs; dynamic axes become ``--images`` and
``--size``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

GRADIENT = [{"stop": 0, "bgColor": "#fff7ec"}, {"stop": 1, "bgColor": "#d7301f"}]
Inputs = dict[str, np.ndarray[Any, Any]]


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=2, help="for a dynamic batch")
    parser.add_argument("--size", type=int, default=64, help="for other dynamic axes")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    model = onnx.load(options.model)
    inputs = random_inputs(model, options.images, options.size)
    for name, values in (
        ("error", errors(model, inputs)),
        ("time", times(model, inputs, options.runs)),
    ):
        path = options.model.with_suffix(f".{name}.json")
        path.write_text(json.dumps(node_data(name, values), indent=1), encoding="utf-8")
        worst = max(values, key=values.__getitem__)
        print(f"{path}: {len(values)} nodes, largest at {worst}: {values[worst]:.3g}")


def node_data(name: str, values: Mapping[str, float]) -> dict[str, Any]:
    """The JSON of Model Explorer for one graph: values by the node's name, and their colours."""
    results = {node: {"value": value} for node, value in values.items()}
    return {"name": name, "results": results, "gradient": GRADIENT}


def random_inputs(model: onnx.ModelProto, images: int, size: int) -> Inputs:
    """Normal noise for each input, float32."""
    random, inputs = np.random.default_rng(0), {}
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        shape = [axis.dim_value or (size if at else images) for at, axis in enumerate(axes)]
        inputs[value.name] = random.standard_normal(shape).astype(np.float32)
    return inputs


def errors(model: onnx.ModelProto, inputs: Inputs) -> dict[str, float]:
    """The largest relative error of each node's outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    nodes = {output: node.name for node in model.graph.node for output in node.output if output}
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in nodes)
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = dict(zip(nodes, session.run(list(nodes), inputs), strict=True))
    wide = {name: value.astype(np.float64) for name, value in inputs.items()}
    exact = ReferenceEvaluator(in_float64(shown)).run(list(nodes), wide)
    result: dict[str, float] = {}
    for (name, node), value in zip(nodes.items(), exact, strict=True):
        if np.issubdtype(value.dtype, np.floating) and value.size:
            scale = np.abs(value).max() or 1.0
            error = float(np.abs(found[name] - value).max() / scale)
            result[node] = max(error, result.get(node, 0.0))
    return result


def in_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float64: weights, constants and casts."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        widen(tensor)
    for value in wide.graph.input:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del wide.graph.value_info[:]
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                widen(attribute.t)
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return wide


def widen(tensor: TensorProto) -> None:
    """Make a float32 tensor float64, in place."""
    if tensor.data_type == TensorProto.FLOAT:
        values = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def times(model: onnx.ModelProto, inputs: Inputs, runs: int) -> dict[str, float]:
    """The median time of each node, in microseconds."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(runs):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    measured: dict[str, list[float]] = {node.name: [] for node in model.graph.node}
    for event in events:
        node = event["name"].removesuffix("_kernel_time")
        if event.get("cat") == "Node" and node in measured and node != event["name"]:
            measured[node].append(event["dur"])
    return {node: statistics.median(spent) for node, spent in measured.items() if spent}


if __name__ == "__main__":
    main()
