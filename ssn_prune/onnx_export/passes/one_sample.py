r"""One sample: BatchNormalization with computed statistics.

In a file for one sample the statistics of a layer are per channel, and BatchNormalization takes
these as inputs. It normalizes in one pass over the activation, where a product and a sum take two.

.. code-block:: text

    (x - mean) * (w / Sqrt(var + eps)) + b
        ->  BatchNormalization(x - point, w, b, mean - point, var)

The point is what the layer subtracts to compute the variance, so x - point exists already. The
result is the same real number. Its rounding differs by a few units in the last place of the largest
term.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.names import module_path
from ssn_prune.onnx_export.passes.editing import (
    Array,
    channels,
    constant,
    emit,
    made_by,
    rank,
    replace,
)
from ssn_prune.onnx_export.passes.normalization import (
    Normalization,
    find_normalization,
    is_squared,
)


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Normalize one sample in one BatchNormalization, if the node begins the end of a layer."""
    found = find_normalization(node)
    if found is None:
        return False
    count = channels(found.x)
    shape = found.x.shape
    if shape is None or shape[0] != 1 or count is None or not _is_per_channel(found.var, count):
        return False
    centred = _centred(graph, found)
    if centred is None:
        return False
    data, mean = centred
    path, last = module_path(node), found.last
    zeros = np.zeros(count, found.weight.dtype)
    bias = zeros if found.bias is None else found.bias
    made = emit(
        graph,
        last,
        "BatchNormalization",
        [
            data,
            constant(graph, found.weight, f"{path}.scale"),
            constant(graph, bias, f"{path}.shift"),
            constant(graph, zeros, "zeros") if mean is None else _flat(graph, last, mean, count),
            _flat(graph, last, found.var, count),
        ],
        epsilon=found.eps,
    )
    replace(graph, last, made)
    return True


def _centred(graph: ir.Graph, found: Normalization) -> tuple[ir.Value, ir.Value | None] | None:
    """The value to normalize, and its mean or None for zero; None if the pass does not apply."""
    if found.mean is None:
        return found.x, None
    subtractions = (made_by(use.node.outputs[0], "Sub", found.last) for use in found.x.uses())
    for subtraction in subtractions:
        if subtraction is None or subtraction.inputs[0] is not found.x:
            continue
        data, point = subtraction.outputs[0], subtraction.inputs[1]
        if point is not None and is_squared(data):
            mean = _plane_constant(graph, found)
            return data, emit(graph, found.last, "Sub", [mean, point], _broadcast(mean, point))
    return None if found.centred is None else (found.centred, None)


def _plane_constant(graph: ir.Graph, found: Normalization) -> ir.Value:
    if isinstance(found.mean, ir.Value):
        return found.mean
    assert found.mean is not None
    array: Array = found.mean.reshape(-1, *[1] * (rank(found.x) - 2))
    return constant(graph, array, f"{module_path(found.last)}.mean")


def _is_per_channel(value: ir.Value, count: int) -> bool:
    """Whether a value has one number per channel of one sample, or one for all channels."""
    sizes = [] if value.shape is None else list(value.shape)
    return (
        len(sizes) >= 2 and all(s == 1 for s in (sizes[0], *sizes[2:])) and sizes[1] in (1, count)
    )


def _broadcast(first: ir.Value, second: ir.Value) -> tuple[int, ...] | None:
    """The shape of the difference of two values; None if a size is not known."""
    if first.shape is None or second.shape is None:
        return None
    sizes = [*first.shape, *second.shape]
    if not all(isinstance(size, int) for size in sizes):
        return None
    return np.broadcast_shapes(first.shape.numpy(), second.shape.numpy())


def _flat(graph: ir.Graph, place: ir.Node, value: ir.Value, count: int) -> ir.Value:
    """Statistics of one sample as (C,)."""
    one = value.shape is not None and value.shape[1] == 1
    rows = constant(graph, np.array([-1]), "flat")
    flat = emit(graph, place, "Reshape", [value, rows], [1 if one else count])
    if not one or count == 1:
        return flat
    return emit(
        graph, place, "Expand", [flat, constant(graph, np.array([count]), "count")], [count]
    )
