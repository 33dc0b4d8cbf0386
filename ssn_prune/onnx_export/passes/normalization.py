r"""Recognise the end of a layer: :math:`(x - \mu) \, w / \sqrt{v + \epsilon} + b`.

This is the end of :class:`~ssn_prune.nn.inference.MomentNorm` and
:class:`~ssn_prune.nn.inference.GroupNorm`. It appears as

.. code-block:: text

    Mul(x - mean, w / Sqrt(v + eps)) + b
    Mul(x, w / Sqrt(v + eps)) + b                              the mean has been subtracted already
    BatchNormalization(x, w, 0, mean, 1) / Sqrt(v + eps) + b   the mean is the running one
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import (
    Array,
    made_by,
    only_user,
    operands,
    per_channel,
    scalar,
)


@dataclass(frozen=True)
class Normalization:
    """The end of a layer.

    Attributes:
        last: The node whose output is the layer's.
        x: The value that is normalized, (N, C, *).
        mean: What is subtracted from x, one number per plane, sample or channel; None if nothing.
        centred: x - mean, where a node computes it.
        weight: The weight, (C,).
        bias: The bias, (C,); None for zeros.
        var: The variance, one number per plane or sample.
        eps: The constant that is added to the variance.
        deviation: Sqrt(var + eps).
        scale: weight / deviation, where a node computes it.
    """

    last: ir.Node
    x: ir.Value
    mean: ir.Value | Array | None
    centred: ir.Value | None
    weight: Array
    bias: Array | None
    var: ir.Value
    eps: float
    deviation: ir.Value
    scale: ir.Value | None


def find_normalization(node: ir.Node) -> Normalization | None:
    """The end of a layer, if it begins at a node, which multiplies x by the scale.

    Args:
        node: Any node of a layer.

    Returns:
        The end of the layer; None if the node does not begin one.
    """
    if node.op_type == "Mul":
        return _with_scale(node)
    return _with_running_mean(node) if node.op_type == "Div" else None


def _with_scale(node: ir.Node) -> Normalization | None:
    for data, scale in operands(node):
        divided = made_by(scale, "Div", node)
        if data is None or divided is None:
            continue
        weight = per_channel(divided.inputs[0], data)
        found = _variance(divided.inputs[1])
        if weight is None or found is None:
            continue
        deviation, var, eps = found
        last, bias = _bias(node, data)
        subtracted = made_by(data, "Sub", node)
        x, mean = (data, None) if subtracted is None else subtracted.inputs
        # A constant is not a mean: it is subtracted because x would lose accuracy otherwise.
        if x is None or mean is None or mean.const_value is not None or is_squared(data):
            x, mean = data, None
        return Normalization(last, x, mean, data, weight, bias, var, eps, deviation, scale)
    return None


def _with_running_mean(node: ir.Node) -> Normalization | None:
    norm = made_by(node.inputs[0], "BatchNormalization", node)
    found = _variance(node.inputs[1])
    if norm is None or found is None or len(norm.outputs[0].uses()) != 1:
        return None
    x, *parameters = norm.inputs
    arrays = [
        None if value is None or value.const_value is None else value.const_value.numpy()
        for value in parameters
    ]
    eps = norm.attributes.get("epsilon")
    if x is None or eps is None or eps.as_float() != 0:
        return None
    weight, shift, mean, var = arrays
    if weight is None or shift is None or mean is None or var is None:
        return None
    if np.any(shift != 0) or np.any(var != 1):
        return None
    deviation, measured, own_eps = found
    last, bias = _bias(node, x)
    return Normalization(last, x, mean, None, weight, bias, measured, own_eps, deviation, None)


def _variance(deviation: ir.Value | None) -> tuple[ir.Value, ir.Value, float] | None:
    """Deviation, variance and eps, which another layer with the same input may compute."""
    root = None if deviation is None else deviation.producer()
    if deviation is None or root is None or root.op_type != "Sqrt" or root.inputs[0] is None:
        return None
    added = root.inputs[0].producer()
    if added is None or added.op_type != "Add":
        return None
    var, eps = added.inputs[0], scalar(added.inputs[1])
    return None if var is None or eps is None else (deviation, var, eps)


def _bias(node: ir.Node, x: ir.Value) -> tuple[ir.Node, Array | None]:
    """The last node of a layer and its bias."""
    added = only_user(node.outputs[0], "Add", node)
    for value, other in () if added is None else operands(added):
        bias = per_channel(other, x)
        if value is node.outputs[0] and bias is not None:
            assert added is not None
            return added, bias
    return node, None


def is_squared(value: ir.Value) -> bool:
    """Whether a node squares this value, so that the variance is computed from it."""
    users = (use.node for use in value.uses())
    return any(user.op_type == "Mul" and set(user.inputs) == {value} for user in users)
