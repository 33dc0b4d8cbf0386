"""ncnn: reductions over one axis of a sequence, as reductions of a plane.

.. code-block:: text

    ReduceMean(x, [2])  ->  Squeeze(ReduceMean(Unsqueeze(x, 3), [2, 3]), 3)        x: (N, C, L)

The reason is that of :mod:`~ssn_prune.onnx_export.passes.never_one_axis`; here no axis has size 1.
The result is the same real number, from the same terms.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace
from ssn_prune.onnx_export.passes.never_one_axis import one_kept_axis


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Reduce a plane instead, if the node reduces over one axis of a sequence and keeps it."""
    axis, x = one_kept_axis(node), node.inputs[0] if node.inputs else None
    if axis is None or x is None or x.shape is None or rank(x) != 3:
        return False
    sizes = list(x.shape)
    reduced = [1 if index == axis else size for index, size in enumerate(sizes)]
    last = constant(graph, np.array([3]), "axes")
    both = constant(graph, np.array([axis, 3]), "axes")
    wider = emit(graph, node, "Unsqueeze", [x, last], [*sizes, 1])
    value = emit(graph, node, node.op_type, [wider, both], [*reduced, 1], keepdims=1)
    replace(graph, node, emit(graph, node, "Squeeze", [value, last], reduced))
    return True
