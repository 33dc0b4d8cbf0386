"""Mish, new in operator set 18: before, x * tanh(softplus(x)), which is ONNX's own definition."""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import emit, replace


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Write it as Softplus, Tanh and Mul."""
    (x,) = node.inputs
    assert x is not None  # required
    gate = emit(graph, node, "Tanh", [emit(graph, node, "Softplus", [x], x.shape)], x.shape)
    replace(graph, node, emit(graph, node, "Mul", [x, gate], x.shape))
    return True
