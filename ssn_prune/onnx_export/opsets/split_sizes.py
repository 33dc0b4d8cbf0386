"""Split into a number of parts: before operator set 18, Split takes the sizes of the parts."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Give the sizes of the parts, if the axis is fixed; the last part may be smaller."""
    x, count = node.inputs[0], node.attributes.get_int("num_outputs")
    if count is None or x is None or x.shape is None:
        return False
    size = x.shape[node.attributes.get_int("axis", 0)]
    if not isinstance(size, int):
        return False
    largest = -(-size // count)
    sizes = np.diff(np.minimum(np.arange(count + 1) * largest, size))
    del node.attributes["num_outputs"]
    node.resize_inputs(2)
    node.replace_input_with(1, constant(graph, sizes, "sizes"))
    return True
