"""Large planes: subtract the bias from the mean, which saves one pass over the activation.

.. code-block:: text

    (x - mean) + b  ->  x - (mean - b)

in an :class:`~ssn_prune.nn.inference.InstanceCentre`. Planes of up to 64 positions may be constant,
with values far from their channel's mean. The second form would then lose accuracy that the first
one keeps. 1-d layers are left as they are, because OpenVINO 2026.4 moves a sum per channel into a
mean over the last of three axes, and takes the wrong channels.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import (
    emit,
    entries,
    made_by,
    operands,
    per_channel,
    rank,
    replace,
)

CONSTANT_PLANE = 64
"""Positions up to which a plane may be constant."""


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Subtract the bias from the mean, if the node adds it to large centred planes."""
    if node.op_type != "Add":
        return False
    for centred, bias in operands(node):
        subtraction = made_by(centred, "Sub", node)
        if subtraction is None or bias is None or len(subtraction.outputs[0].uses()) != 1:
            continue
        x, mean = subtraction.inputs
        if x is None or mean is None or per_channel(bias, x) is None or not _is_large(x):
            continue
        target = emit(graph, node, "Sub", [mean, bias], mean.shape)
        replace(graph, node, emit(graph, node, "Sub", [x, target]))
        return True
    return False


def _is_large(x: ir.Value) -> bool:
    positions = entries(x, 2)
    return rank(x) > 3 and positions is not None and positions > CONSTANT_PLANE
