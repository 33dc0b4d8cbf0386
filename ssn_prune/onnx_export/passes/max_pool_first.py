"""Max pooling before monotone operators: the same values from a quarter of the work.

A ReLU, a sum with one number per plane and a product with a non-negative one do not change which
entry of a window is the largest, not even in floating point. So max pooling can be moved before
such operators, with the same result bit by bit, and they run on the pooled tensor. In a ResNet's
stem that is the affine part of the first norm.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_POSITIVE = ("Sqrt", "Relu", "Exp", "Sigmoid", "Abs")


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Move a strided max pooling before the monotone operators that precede it."""
    if node.op_type != "MaxPool":
        return False
    strides = node.attributes.get("strides")
    strided = strides is not None and any(stride > 1 for stride in strides.as_ints())
    if not strided or len(node.outputs) != 1 or node.outputs[0].is_graph_output():
        return False
    chain = _preceding_monotone(node)
    if chain:
        _swap(graph, node, chain)
    return bool(chain)


def _preceding_monotone(pool: ir.Node) -> list[ir.Node]:
    """The monotone operators that precede a pooling, in execution order."""
    chain: list[ir.Node] = []
    value = pool.inputs[0]
    while value is not None:
        node = value.producer()
        alone = len(value.uses()) == 1 and not value.is_graph_output()
        if node is None or not alone or not _is_monotone(node):
            break
        chain.insert(0, node)
        value = node.inputs[_carrier(node)]
    return chain


def _carrier(node: ir.Node) -> int:
    """Index of the input that carries the activation; the other, if any, has one per plane."""
    swapped = node.op_type in ("Add", "Mul") and _is_per_plane(node.inputs[0], node)
    return 1 if swapped else 0


def _is_monotone(node: ir.Node) -> bool:
    if node.op_type == "Relu":
        return True
    if node.op_type == "BatchNormalization":
        return len(node.outputs) == 1 and _is_not_negative(node.inputs[1])
    if node.op_type not in ("Add", "Sub", "Mul"):
        return False
    other = node.inputs[1 - _carrier(node)]
    per_plane = _is_per_plane(other, node)
    return per_plane and (node.op_type != "Mul" or _is_not_negative(other))


def _is_per_plane(value: ir.Value | None, node: ir.Node) -> bool:
    """Whether an operand has one number for all spatial positions of the result."""
    shape = node.outputs[0].shape
    if value is None or value.shape is None or shape is None:
        return False
    spatial = max(len(shape) - 2, 0)
    return all(dim == 1 for dim in list(value.shape)[-spatial:]) if spatial else False


def _is_not_negative(value: ir.Value | None) -> bool:
    if value is None:
        return False
    if value.const_value is not None:
        return bool(np.all(value.const_value.numpy() >= 0))
    node = value.producer()
    if node is None:
        return False
    if node.op_type in ("Mul", "Div", "Add"):
        return all(_is_not_negative(operand) for operand in node.inputs)
    if node.op_type in ("Reshape", "Expand", "Identity"):
        return _is_not_negative(node.inputs[0])
    return node.op_type in _POSITIVE


def _swap(graph: ir.Graph, pool: ir.Node, chain: list[ir.Node]) -> None:
    first, last = chain[0], chain[-1]
    source, pooled = first.inputs[_carrier(first)], pool.outputs[0]
    result = last.outputs[0]
    for node, index in list(pooled.uses()):
        node.replace_input_with(index, result)
    graph.remove(pool)
    pool.replace_input_with(0, source)
    first.replace_input_with(_carrier(first), pooled)
    graph.insert_before(first, pool)
    name = pooled.name
    for value in (pooled, *(node.outputs[0] for node in chain[:-1])):
        value.name = f"{value.name}_pooled"  # its values have changed
    result.name = name
    for node in chain:
        node.outputs[0].shape = pooled.shape
