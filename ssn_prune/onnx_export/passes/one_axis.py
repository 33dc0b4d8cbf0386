"""OpenCV: means over planes, one axis after the other.

.. code-block:: text

    ReduceMean(x, [2, 3])  ->  ReduceMean(ReduceMean(x, [3]), [2])

OpenCV 4 adds up a whole plane in one chain of float32, whose rounding error grows with its length;
two short chains are several times as exact (``benchmarks/research/norm_sums.py``). The same real
number.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.passes.two_axes import reduce_in_steps, reduced_axes


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Take one axis at a time, if the node is a mean over several that are longer than 1."""
    axes = reduced_axes(node)
    if node.op_type != "ReduceMean" or node.inputs[0] is None or node.inputs[0].shape is None:
        return False
    if sum(node.inputs[0].shape[axis] != 1 for axis in axes) < 2:
        return False
    reduce_in_steps(graph, node, 1)
    return True
