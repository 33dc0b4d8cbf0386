r"""A normalization by constants of a convolution that something else uses, too, written out.

.. code-block:: text

    BatchNormalization(x, w, b, mean, var)     ->  (x - mean) * (w / Sqrt(var + eps)) + b
    BatchNormalization(x, w, 0, mean, 1) / d   ->  (x - mean) * (w / d)

MNN's converter merges BatchNormalization into the convolution before it without looking who else
uses that, and gives wrong numbers without an error. The same real number; w / Sqrt(var + eps) of
constants is computed in float64.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import Array, constant, emit, rank, replace
from ssn_prune.onnx_export.passes.normalization import find_normalization

_PRODUCERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Write the node out, if it normalizes what a convolution gives to others, too."""
    if node.op_type == "Div":
        return _by_a_deviation(graph, node)
    return is_of_shared(node) and _by_constants(graph, node)


def is_of_shared(node: ir.Node) -> bool:
    """Whether a node is a BatchNormalization of a convolution that others use, too."""
    x = node.inputs[0] if node.op_type == "BatchNormalization" and not node.domain else None
    producer = None if x is None else x.producer()
    if x is None or producer is None or producer.op_type not in _PRODUCERS:
        return False
    return len(x.uses()) > 1 or x.is_graph_output()


def _by_a_deviation(graph: ir.Graph, node: ir.Node) -> bool:
    norm = None if node.inputs[0] is None else node.inputs[0].producer()
    found = find_normalization(node) if norm is not None and is_of_shared(norm) else None
    if found is None or not isinstance(found.mean, np.ndarray):
        return False
    x, each = found.x, list(found.deviation.shape or ())
    each = [*each[:1], len(found.weight), *each[2:]]
    weight = _planes(graph, found.weight, x, "scale")
    centred = emit(graph, node, "Sub", [x, _planes(graph, found.mean, x, "mean")], x.shape)
    scale = emit(graph, node, "Div", [weight, found.deviation], each)
    replace(graph, node, emit(graph, node, "Mul", [centred, scale], x.shape))
    return True


def _by_constants(graph: ir.Graph, node: ir.Node) -> bool:
    x, *parameters = node.inputs
    tensors = [None if value is None else value.const_value for value in parameters]
    if x is None or x.shape is None or len(node.outputs) != 1:
        return False
    arrays = [tensor.numpy() for tensor in tensors if tensor is not None]
    if len(arrays) != 4:
        return False
    weight, bias, mean, var = arrays
    eps = node.attributes.get_float("epsilon", 1e-5)
    scale = (weight / np.sqrt(var.astype(np.float64) + eps)).astype(weight.dtype)
    value = x
    for operator, array, neutral in (("Sub", mean, 0), ("Mul", scale, 1), ("Add", bias, 0)):
        if np.any(array != neutral) or (operator == "Mul" and value is x):
            value = emit(graph, node, operator, [value, _planes(graph, array, x, "norm")], x.shape)
    replace(graph, node, value)
    return True


def _planes(graph: ir.Graph, array: Array, x: ir.Value, name: str) -> ir.Value:
    return constant(graph, array.reshape(-1, *[1] * (rank(x) - 2)), name)
