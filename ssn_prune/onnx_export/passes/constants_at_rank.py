"""TFLite: constants per channel also get an axis for the samples.

.. code-block:: text

    Add(x, b)    with b of shape (C, 1, 1)  ->  (1, C, 1, 1)

onnx2tf moves the channels to the last axis. In a constant with fewer axes than the value that it is
combined with, it takes the wrong axis for the channels. The result is the same, bit by bit.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import constant, rank

ELEMENTWISE = ("Add", "Sub", "Mul", "Div")


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Give the constant of an elementwise node as many axes as the other operand has."""
    if node.op_type not in ELEMENTWISE or node.domain:
        return False
    ranks = [rank(value) for value in node.inputs]
    changed = False
    for index, value in enumerate(node.inputs):
        if value is None or value.const_value is None:
            continue
        if 0 < ranks[index] < max(ranks):
            array = value.const_value.numpy()
            padded = array.reshape(*[1] * (max(ranks) - ranks[index]), *array.shape)
            node.replace_input_with(index, constant(graph, padded, str(value.name)))
            changed = True
    return changed
