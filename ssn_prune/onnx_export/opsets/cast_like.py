"""CastLike, new in operator set 15: before, a Cast, since the type of every value is known."""

from __future__ import annotations

import onnx_ir as ir


def rewrite(_graph: ir.Graph, node: ir.Node) -> bool:
    """Write it as Cast, if the type is known."""
    like = node.inputs[1]
    if like is None or like.dtype is None:
        return False
    node.op_type = "Cast"
    node.resize_inputs(1)
    node.attributes["to"] = ir.AttrInt64("to", like.dtype.value)
    return True
