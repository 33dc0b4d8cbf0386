"""OpenVINO: the weighted sum over channels of a 1-d layer as a matrix product.

.. code-block:: text

    ReduceSum(mean * coefficient, axes [1, 2])  ->  MatMul(coefficient, mean)    mean: (N, C, 1)

in a :class:`~ssn_prune.nn.inference.LayerCentre`. OpenVINO 2026.4 merges a product per channel into
a mean over the last of three axes, and takes the wrong channels. The result is the same real
number, summed in the order of a matrix product.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.names import module_path
from ssn_prune.onnx_export.passes.editing import (
    constant,
    emit,
    made_by,
    operands,
    per_channel,
    rank,
    replace,
)


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Multiply matrices, if the node sums the weighted means of a 1-d layer."""
    if node.op_type != "ReduceSum" or len(node.inputs) != 2 or not _is_over_channels(node):
        return False
    product = made_by(node.inputs[0], "Mul", node)
    for mean, coefficient in () if product is None else operands(product):
        if mean is None or rank(mean) != 3 or (weights := per_channel(coefficient, mean)) is None:
            continue
        row = constant(graph, weights.reshape(1, 1, -1), f"{module_path(node)}.row")
        replace(graph, node, emit(graph, node, "MatMul", [row, mean]))
        return True
    return False


def _is_over_channels(node: ir.Node) -> bool:
    axes, keep = node.inputs[1], node.attributes.get("keepdims")
    constant_axes = None if axes is None else axes.const_value
    if constant_axes is None or (keep is not None and keep.as_int() != 1):
        return False
    return bool(constant_axes.numpy().tolist() == [1, 2])
