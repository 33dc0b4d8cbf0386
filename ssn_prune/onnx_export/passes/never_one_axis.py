"""ncnn: reductions over one axis also reduce over an axis of size 1.

.. code-block:: text

    ReduceMean(x, [2])  ->  ReduceMean(x, [2, 3])        x: (N, C, D, 1, 1)

pnnx 20261020 loses the axis of a reduction over one axis, and ncnn then reduces over all axes,
without an error. The result is the same real number, from the same terms.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace

REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Add an axis of size 1, if the node keeps the one axis that it reduces over."""
    axis, x = one_kept_axis(node), node.inputs[0] if node.inputs else None
    if axis is None or x is None or x.shape is None:
        return False
    sizes = list(x.shape)
    free = [index for index in range(2, len(sizes)) if sizes[index] == 1 and index != axis]
    if not free:
        return False
    both = constant(graph, np.array(sorted([axis, free[0]])), "axes")
    sizes[axis] = 1
    replace(graph, node, emit(graph, node, node.op_type, [x, both], sizes, keepdims=1))
    return True


def one_kept_axis(node: ir.Node) -> int | None:
    """The axis of a reduction over one axis that keeps it; None for any other node."""
    if node.op_type not in REDUCTIONS or node.domain or len(node.inputs) != 2:
        return None
    x, axes = node.inputs
    keep = node.attributes.get("keepdims")
    if rank(x) == 0 or axes is None or axes.const_value is None or axes.const_value.size != 1:
        return None
    if keep is not None and keep.as_int() != 1:
        return None
    return int(axes.const_value.numpy().item()) % rank(x)
