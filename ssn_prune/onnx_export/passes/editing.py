"""Find and edit the nodes of one layer in an exported graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.names import module_path

Array = np.ndarray[Any, np.dtype[Any]]


def made_by(value: ir.Value | None, operator: str, module: ir.Node) -> ir.Node | None:
    """The node that computes a value, if it has this operator and is in the module of a node."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != operator or node.domain:
        return None
    return node if module_path(node) == module_path(module) else None


def only_user(value: ir.Value, operator: str, module: ir.Node) -> ir.Node | None:
    """The only user of a value, if it has this operator and is in the module of a node."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node = uses[0].node
    same = node.op_type == operator and not node.domain
    return node if same and module_path(node) == module_path(module) else None


def operands(node: ir.Node) -> Sequence[tuple[ir.Value | None, ir.Value | None]]:
    """The two inputs of a commutative operator in both orders, the node's own order first."""
    first, second = node.inputs
    return ((first, second), (second, first))


def entries(value: ir.Value, axis: int) -> int | None:
    """The product of the sizes from an axis on, None where one of them is dynamic or unknown."""
    if value.shape is None:
        return None
    count = 1
    for size in list(value.shape)[axis:]:
        if not isinstance(size, int):
            return None
        count *= size
    return count


def rank(value: ir.Value | None) -> int:
    """The number of axes of a value, 0 where it is unknown."""
    return 0 if value is None or value.shape is None else len(value.shape)


def channels(value: ir.Value | None) -> int | None:
    """C of a value of shape (N, C, *), None where it is dynamic or unknown."""
    if value is None or value.shape is None or len(value.shape) < 2:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else None


def per_channel(value: ir.Value | None, x: ir.Value) -> Array | None:
    """A constant with one value per channel of x, (N, C, *), as (C,); None for other values."""
    if value is None or value.const_value is None or rank(x) < 2:
        return None
    array = value.const_value.numpy()
    shape = (channels(x), *[1] * (rank(x) - 2))
    return array.reshape(-1) if array.shape in (shape, (1, *shape)) else None


def scalar(value: ir.Value | None) -> float | None:
    """The value of a constant with a single float32 element; None for other values."""
    constant = None if value is None else value.const_value
    if constant is None or constant.size != 1 or constant.dtype is not ir.DataType.FLOAT:
        return None
    return float(constant.numpy().reshape(()))


def constant(graph: ir.Graph, array: Array, name: str) -> ir.Value:
    """An initializer with these values: an existing one, or a new one."""
    array = np.ascontiguousarray(array)
    for value in graph.initializers.values():
        known = value.const_value
        if known is not None and tuple(known.shape) == array.shape:
            numbers = known.numpy()
            if numbers.dtype == array.dtype and np.array_equal(numbers, array):
                return value
    free = free_name(graph, name)
    tensor = ir.tensor(array, name=free)
    value = ir.Value(
        name=free,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def free_name(graph: ir.Graph, name: str) -> str:
    """A name that no value has: this one, with underscores appended if it is taken."""
    taken = {str(output.name) for node in graph for output in node.outputs}
    taken |= {str(value.name) for value in [*graph.inputs, *graph.initializers.values()]}
    while name in taken:
        name += "_"
    return name


def emit(
    graph: ir.Graph,
    place: ir.Node,
    operator: str,
    inputs: Sequence[ir.Value],
    shape: Sequence[Any] | ir.Shape | None = None,
    **attributes: float,
) -> ir.Value:
    """Insert a node before another one, into the same module.

    Args:
        graph: The graph.
        place: The node before which the new one is inserted.
        operator: ONNX operator of the new node.
        inputs: Inputs of the new node.
        shape: Shape of its result; None if it is not known.
        **attributes: Attributes of the operator.

    Returns:
        The result, whose type is that of the first input.
    """
    made = ir.node(operator, inputs, attributes=attributes)
    made.metadata_props.update(place.metadata_props)
    graph.insert_before(place, made)
    made.outputs[0].type = inputs[0].type
    made.outputs[0].shape = None if shape is None else ir.Shape(list(shape))
    return made.outputs[0]


def replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Replace a node's output by an emitted value, which takes over its name."""
    old = node.outputs[0]
    made = value.producer()
    assert made is not None  # emitted before
    ir.convenience.replace_nodes_and_values(graph, made, [node], [], [old], [value])
