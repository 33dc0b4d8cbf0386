"""Circular padding: new in Pad of operator set 19, but torch's exporter also writes it in 18.

Before 19, copies of an axis's last entries are put before it, and copies of its first ones after
it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, emit, rank, replace

_TO_THE_END = np.iinfo(np.int64).max


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Write the padding as Slice and Concat, if its widths are constants and none is negative."""
    mode, value = node.attributes.get_string("mode"), node.inputs[0]
    if mode != "wrap" or value is None or value.shape is None:
        return False
    widths = _widths(node, rank(value))
    if widths is None or min(map(min, widths.values()), default=0) < 0:
        return False
    sizes = list(value.shape)
    for axis, (before, after) in widths.items():
        parts = [value]
        if before:
            parts.insert(0, _slice(graph, node, value, axis, -before, _TO_THE_END))
        if after:
            parts.append(_slice(graph, node, value, axis, 0, after))
        size = sizes[axis]
        sizes[axis] = size + before + after if isinstance(size, int) else ir.SymbolicDim(None)
        if len(parts) > 1:
            value = emit(graph, node, "Concat", parts, sizes, axis=axis)
    if value is node.inputs[0]:
        value = emit(graph, node, "Identity", [value], sizes)
    replace(graph, node, value)
    return True


def _widths(node: ir.Node, axes: int) -> dict[int, tuple[int, int]] | None:
    """The widths of the padding before and after each axis; None if the graph computes them."""
    pads, *others = (
        None if value is None else ir.convenience.get_const_tensor(value)
        for value in node.inputs[1:]
    )
    order = list(range(axes))
    if len(others) > 1 and node.inputs[3] is not None:
        if others[1] is None:
            return None
        order = (others[1].numpy() % axes).tolist()
    if pads is None:
        return None
    before, after = pads.numpy().reshape(2, -1).tolist()
    return {axis: (int(b), int(a)) for axis, b, a in zip(order, before, after, strict=True)}


def _slice(
    graph: ir.Graph, node: ir.Node, value: ir.Value, axis: int, start: int, end: int
) -> ir.Value:
    assert value.shape is not None  # checked
    shape = list(value.shape)
    shape[axis] = abs(start) or end
    bounds = [constant(graph, np.array([n]), "bound") for n in (start, end, axis)]
    return emit(graph, node, "Slice", [value, *bounds], shape)
