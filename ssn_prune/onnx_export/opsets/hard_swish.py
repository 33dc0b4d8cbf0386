"""HardSwish, new in operator set 14: before, x * HardSigmoid(x) with slope 1/6 and offset 1/2.

This is ONNX's own definition. A runtime may round it differently from its own HardSwish.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import emit, replace


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Write it as HardSigmoid and Mul."""
    (x,) = node.inputs
    assert x is not None  # required
    gate = emit(graph, node, "HardSigmoid", [x], x.shape, alpha=1 / 6, beta=0.5)
    replace(graph, node, emit(graph, node, "Mul", [x, gate], x.shape))
    return True
