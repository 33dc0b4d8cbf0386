"""Reduce operators other than ReduceSum: before operator set 18, their axes are an attribute."""

from __future__ import annotations

import onnx_ir as ir

OPERATORS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)


def rewrite(_graph: ir.Graph, node: ir.Node) -> bool:
    """Store constant axes as an attribute."""
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return False
    axes = ir.convenience.get_const_tensor(node.inputs[1])
    if axes is None or axes.size == 0:  # empty: noop_with_empty_axes says whether that means all
        return False
    node.resize_inputs(1)
    node.attributes["axes"] = ir.AttrInt64s("axes", axes.numpy().reshape(-1).tolist())
    node.attributes.pop("noop_with_empty_axes", None)  # without effect where there are axes
    return True
