"""Reshape to sizes of 0: before operator set 14, a 0 always stands for the input's size there.

So only a shape with a 0 in it has another meaning. A computed shape has a 0 only where the tensor
is empty.
"""

from __future__ import annotations

import onnx_ir as ir


def rewrite(_graph: ir.Graph, node: ir.Node) -> bool:
    """Drop allowzero unless the shape is a constant with a 0 in it."""
    shape = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] else None
    if "allowzero" not in node.attributes or (shape is not None and 0 in shape.numpy()):
        return False
    del node.attributes["allowzero"]
    return True
