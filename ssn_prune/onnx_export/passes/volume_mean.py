"""Volumes: the mean over three axes as one over two, then over the first of them.

.. code-block:: text

    ReduceMean(x, axes [2, 3, 4])  ->  ReduceMean(ReduceMean(x, [3, 4]), 2)

OpenCV 4 computes something else for a mean over three of five axes, without an error. The same real
number, since all planes have the same size, and in ONNX Runtime the same time.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Take the mean over the first axis last, if the node is one over three axes."""
    if node.op_type != "ReduceMean" or len(node.inputs) != 2:
        return False
    value, axes = node.inputs
    if value is None or value.shape is None or axes is None or axes.const_value is None:
        return False
    first, *others = sorted(int(axis) % rank(value) for axis in axes.const_value.numpy())
    if len(others) < 2:
        return False
    keep = node.attributes.get("keepdims")
    kept = 1 if keep is None else keep.as_int()
    sizes = list(value.shape)
    for removed in (others, [first]):
        if kept:
            sizes = [1 if axis in removed else size for axis, size in enumerate(sizes)]
        else:
            sizes = [size for axis, size in enumerate(sizes) if axis not in removed]
        over = constant(graph, np.array(removed), "axes")
        value = emit(graph, node, "ReduceMean", [value, over], sizes, keepdims=kept)
    replace(graph, node, value)
    return True
