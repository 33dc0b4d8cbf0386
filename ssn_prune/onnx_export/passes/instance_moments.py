"""OpenCV and ncnn: InstanceNormalization of sequences and volumes, written out.

.. code-block:: text

    InstanceNormalization(x, w, b)
        ->  (x - mean) * (w / Sqrt(var + eps)) + b    mean, var: ReduceMean over all positions

OpenCV 5 supports it for planes only, and ncnn not for sequences. The result is the same real
number.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Write the node out, if it normalizes sequences or volumes."""
    return is_norm_of(node, 3, 5) and write_out(graph, node)


def is_norm_of(node: ir.Node, *ranks: int) -> bool:
    """Whether the node normalizes a tensor of one of these ranks."""
    named = node.op_type == "InstanceNormalization" and not node.domain
    return named and rank(node.inputs[0]) in ranks


def write_out(graph: ir.Graph, node: ir.Node) -> bool:
    """Write an InstanceNormalization out, if its scale and shift are constants."""
    x, scale, shift = node.inputs
    if x is None or x.shape is None:
        return False
    axes = rank(x)
    if scale is None or scale.const_value is None or shift is None or shift.const_value is None:
        return False
    positions = constant(graph, np.arange(2, axes), "axes")
    sizes, each = list(x.shape), [*list(x.shape)[:2], *[1] * (axes - 2)]
    per_channel = (-1, *[1] * (axes - 2))
    weight = scale.const_value.numpy().reshape(per_channel)
    bias = shift.const_value.numpy().reshape(per_channel)
    eps = node.attributes.get("epsilon")
    number = np.array(1e-5 if eps is None else eps.as_float(), weight.dtype)

    mean = emit(graph, node, "ReduceMean", [x, positions], each, keepdims=1)
    centred = emit(graph, node, "Sub", [x, mean], sizes)
    square = emit(graph, node, "Mul", [centred, centred], sizes)
    var = emit(graph, node, "ReduceMean", [square, positions], each, keepdims=1)
    stabilized = emit(graph, node, "Add", [var, constant(graph, number, "eps")], each)
    deviation = emit(graph, node, "Sqrt", [stabilized], each)
    factor = emit(graph, node, "Div", [constant(graph, weight, "scale"), deviation], each)
    product = emit(graph, node, "Mul", [centred, factor], sizes)
    made = emit(graph, node, "Add", [product, constant(graph, bias, "shift")], sizes)
    replace(graph, node, made)
    return True
