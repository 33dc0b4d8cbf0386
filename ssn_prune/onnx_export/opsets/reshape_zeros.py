"""Reshape to sizes of 0: before operator set 14 a 0 stands for the input's size there.

Only a shape with a 0 in it is read differently. One that is computed has a 0 only where the tensor
is empty.
"""

from __future__ import annotations

import onnx_ir as ir


def rewrite(_graph: ir.Graph, node: ir.Node) -> bool:
    """Drop allowzero where no 0 is given."""
    shape = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] else None
    if "allowzero" not in node.attributes or (shape is not None and 0 in shape.numpy()):
        return False
    del node.attributes["allowzero"]
    return True
