"""The operators around a call of a switchable layer, as plain data: enough to rebuild them.

The cost of a normalizer is what it adds to its surroundings. A preceding convolution absorbs the
cheap ones, and a runtime fuses that convolution with the activation only if nothing is left between
them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ssn_prune.pruning.capture.fx_utils import (
    argument,
    only_user,
    operator_name,
    shape_of,
)
from ssn_prune.pruning.capture.records import OTHER, VALUE, ConvShape, Operation, Surroundings

TRANSPOSED = {
    "aten.conv_transpose1d.default",
    "aten.conv_transpose2d.input",
    "aten.conv_transpose3d.input",
}
CONVOLUTIONS = TRANSPOSED | {
    f"aten.conv{dimension}d.{overload}"
    for dimension in (1, 2, 3)
    for overload in ("default", "padding")
}
LINEAR = "aten.linear.default"
_FUSED = {
    "aten.relu",
    "aten.hardtanh",
    "aten.relu6",
    "aten.silu",
    "aten.hardswish",
    "aten.hardsigmoid",
    "aten.gelu",
    "aten.leaky_relu",
    "aten.elu",
    "aten.mish",
    "aten.sigmoid",
    "aten.tanh",
    "aten.max_pool1d",
    "aten.max_pool2d",
    "aten.max_pool3d",
}
"""Operators that runtimes fuse with a convolution, or that our passes move; others end the tail."""
_ADD = "aten.add"
_LONGEST = 3
_TENSORS = ("input", "weight", "bias")


def surroundings_of(node: torch.fx.Node) -> Surroundings | None:
    """The surroundings of a layer's call in a captured graph.

    Args:
        node: The call.

    Returns:
        None where the shape of the input depends on data.
    """
    source = node.args[0]
    assert isinstance(source, torch.fx.Node)  # the marker's first argument is a tensor
    shape = shape_of(source)
    if shape is None:
        return None
    tail: list[Operation] = []
    end = node
    while len(tail) < _LONGEST and (user := only_user(end)) is not None:
        operation = _operation(user, end)
        if operation is None:
            break
        tail.append(operation)
        end = user
    following = (conv_shape(user) for user in end.users if user.args and user.args[0] is end)
    return Surroundings(
        shape=shape,
        preceding=conv_shape(source),
        tail=tuple(tail),
        following=next((conv for conv in following if conv), None),
        added=next((added for user in end.users if (added := _added(user, end))), None),
    )


def _added(node: torch.fx.Node, value: torch.fx.Node) -> tuple[int, ...] | None:
    operation = _operation(node, value)
    return None if operation is None else operation.other


def is_conv(node: torch.fx.Node) -> bool:
    """Whether a node is a convolution, or a linear layer with its channels on axis 1."""
    name = operator_name(node)
    value = node.meta.get("val")
    return name in CONVOLUTIONS or (
        name == LINEAR and isinstance(value, Tensor) and value.dim() == 2
    )


def conv_shape(node: torch.fx.Node) -> ConvShape | None:
    """A convolution or linear layer without its values; None for other nodes.

    Also None for one whose stride or padding is computed from a size of the input.
    """
    if not is_conv(node) or any(isinstance(item, torch.fx.Node) for item in _settings(node)):
        return None
    inputs, weight = shape_of(argument(node, 0, "input")), shape_of(argument(node, 1, "weight"))
    if inputs is None or weight is None:
        return None
    bias = argument(node, 2, "bias") is not None
    name = operator_name(node)
    if name == LINEAR:
        return ConvShape(inputs, weight, bias)
    axes, transposed = len(weight) - 2, name in TRANSPOSED
    padding = argument(node, 4, "padding", 0)
    return ConvShape(
        input=inputs,
        weight=weight,
        bias=bias,
        transposed=transposed,
        stride=_each(argument(node, 3, "stride", 1), axes),
        padding=padding if isinstance(padding, str) else _each(padding, axes),
        output_padding=_each(argument(node, 5, "output_padding", 0), axes) if transposed else (),
        dilation=_each(argument(node, 7 if transposed else 5, "dilation", 1), axes),
        groups=argument(node, 6, "groups", 1),
    )


def _settings(node: torch.fx.Node) -> list[Any]:
    """The arguments of a convolution other than its tensors."""
    named = {key: value for key, value in node.kwargs.items() if key not in _TENSORS}
    return pytree.tree_leaves((node.args[3:], named))


def _each(value: Any, axes: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * axes if len(values) == 1 else values


def _operation(node: torch.fx.Node, value: torch.fx.Node) -> Operation | None:
    """The record of a node that runtimes fuse with what precedes it; None for other nodes."""
    name = operator_name(node)
    base, _, overload = name.rpartition(".")
    base = base.removesuffix("_")  # rebuilt, an in-place operator works on a copy
    tensors = [item for item in node.all_input_nodes if item is not value]
    other: tuple[int, ...] | None = None
    if base == _ADD and overload == "Tensor" and len(tensors) == 1:
        other = shape_of(tensors[0])
        if other is None or other != shape_of(value):
            return None
    elif base not in _FUSED or tensors:
        return None
    if shape_of(node) is None:
        return None

    def plain(item: Any) -> Any:
        if isinstance(item, torch.fx.Node):
            return VALUE if item is value else OTHER
        return tuple(map(plain, item)) if isinstance(item, list | tuple) else item

    arguments = tuple(map(plain, node.args))
    if arguments == (OTHER, VALUE):  # a sum, which commutes
        arguments = (VALUE, OTHER)
    named = tuple((key, plain(item)) for key, item in node.kwargs.items())
    return Operation(f"{base}.{overload}", arguments, named, other)
