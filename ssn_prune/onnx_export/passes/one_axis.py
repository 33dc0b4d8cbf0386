"""OpenCV: means over several axes, one axis at a time.

.. code-block:: text

    ReduceMean(x, [2, 3])  ->  ReduceMean(ReduceMean(x, [3]), [2])

OpenCV 4 adds up a whole plane in one chain of float32 sums, whose rounding error grows with its
length. Two short chains are several times as accurate (``benchmarks/research/norm_sums.py``). The
result is the same real number.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.passes.two_axes import reduce_in_steps, reduced_axes


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Reduce one axis at a time, if the node is a mean over several axes longer than 1."""
    axes = reduced_axes(node)
    if node.op_type != "ReduceMean" or node.inputs[0] is None or node.inputs[0].shape is None:
        return False
    if sum(node.inputs[0].shape[axis] != 1 for axis in axes) < 2:
        return False
    reduce_in_steps(graph, node, 1)
    return True
