"""Shape with start and end: before operator set 15, Shape of all axes and Gather of some."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Write Shape with start and end as Shape and Gather, if the number of axes is known."""
    (x,) = node.inputs
    count = rank(x)
    assert x is not None  # required
    if not count or not {"start", "end"} & node.attributes.keys():
        return False
    end = node.attributes.get_int("end")
    axes = np.arange(count)[node.attributes.get_int("start", 0) : end]
    if len(axes) == count:
        node.attributes.clear()
        return True
    sizes = emit(graph, node, "Shape", [x], [count])
    sizes.type = ir.TensorType(ir.DataType.INT64)
    some = emit(graph, node, "Gather", [sizes, constant(graph, axes, "axes")], [len(axes)], axis=0)
    replace(graph, node, some)
    return True
