"""Reductions over three axes and more, such as the mean of a volume, in steps of two axes.

.. code-block:: text

    ReduceMean(x, axes [2, 3, 4])  ->  ReduceMean(ReduceMean(x, [3, 4]), [2])

OpenCV 4 computes something else for a reduction over more than two axes, without an error. The same
real number, and in ONNX Runtime the same time: the first step does nearly all of the work.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace

SEPARABLE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
"""Operators whose result over some axes is that over a part of them, reduced over the others."""


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Reduce over the last two axes first, if the node reduces over more than two."""
    if node.op_type not in SEPARABLE or node.domain or len(node.inputs) != 2:
        return False
    value, axes = node.inputs
    if value is None or value.shape is None or axes is None or axes.const_value is None:
        return False
    order = sorted(int(axis) % rank(value) for axis in axes.const_value.numpy())
    if len(order) < 3:
        return False
    keep = node.attributes.get("keepdims")
    kept = 1 if keep is None else keep.as_int()
    sizes = list(value.shape)
    while order:
        step, order = order[-2:], order[:-2]
        if kept:
            sizes = [1 if axis in step else size for axis, size in enumerate(sizes)]
        else:
            sizes = [size for axis, size in enumerate(sizes) if axis not in step]
        over = constant(graph, np.array(step), "axes")
        value = emit(graph, node, node.op_type, [value, over], sizes, keepdims=kept)
    replace(graph, node, value)
    return True
