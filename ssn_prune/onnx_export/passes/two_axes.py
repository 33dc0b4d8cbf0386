"""Reductions over three or more axes, such as the mean of a volume, in steps of two axes.

.. code-block:: text

    ReduceMean(x, axes [2, 3, 4])  ->  ReduceMean(ReduceMean(x, [3, 4]), [2])

OpenCV 4 computes wrong values for a reduction over more than two axes, without an error. The result
is the same real number. ONNX Runtime needs no more time, because the first step does nearly all of
the work.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace

SEPARABLE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
"""Operators that can reduce over some of the axes first and over the others later."""


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Reduce over the last two axes first, if the node reduces over more than two."""
    if len(reduced_axes(node)) < 3:
        return False
    reduce_in_steps(graph, node, 2)
    return True


def reduced_axes(node: ir.Node) -> list[int]:
    """The axes of a separable reduction, in ascending order; empty for any other node."""
    if node.op_type not in SEPARABLE or node.domain or len(node.inputs) != 2:
        return []
    value, axes = node.inputs
    if value is None or value.shape is None or axes is None or axes.const_value is None:
        return []
    return sorted(int(axis) % rank(value) for axis in axes.const_value.numpy())


def reduce_in_steps(graph: ir.Graph, node: ir.Node, most: int) -> None:
    """Replace a reduction by several, each over a limited number of axes, the last ones first.

    Args:
        graph: Where the node is.
        node: The separable reduction.
        most: Largest number of axes in one step.
    """
    value, order = node.inputs[0], reduced_axes(node)
    assert value is not None
    assert value.shape is not None
    keep = node.attributes.get("keepdims")
    kept = 1 if keep is None else keep.as_int()
    sizes = list(value.shape)
    while order:
        step, order = order[-most:], order[:-most]
        if kept:
            sizes = [1 if axis in step else size for axis, size in enumerate(sizes)]
        else:
            sizes = [size for axis, size in enumerate(sizes) if axis not in step]
        over = constant(graph, np.array(step), "axes")
        value = emit(graph, node, node.op_type, [value, over], sizes, keepdims=kept)
    replace(graph, node, value)
