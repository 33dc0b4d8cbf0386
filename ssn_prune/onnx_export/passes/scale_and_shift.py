r"""Large samples: x * scale + shift, which saves one pass over the activation.

.. code-block:: text

    (x - mean) * scale + b  ->  x * scale + (b - mean * scale)

A pass over a large activation takes longer than two more operators on (N, C) numbers (measured with
``benchmarks/forms.py``). Where the layer has already subtracted the mean for the variance, nothing
can be saved. The second form is as accurate as x is, whose own rounding error is scaled by the same
factor. On small planes, which may be constant, the scale can be as large as 1 / sqrt(eps), so these
keep the first form.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.onnx_export.names import module_path
from ssn_prune.onnx_export.passes.editing import (
    Array,
    constant,
    emit,
    entries,
    rank,
    replace,
)
from ssn_prune.onnx_export.passes.normalization import find_normalization

LARGE_SAMPLE = 1 << 16
"""Entries of a sample at which a pass takes longer than two operators on (N, C) numbers."""


def rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    """Move the mean into the shift, if the node begins the end of a layer on a large sample."""
    found = find_normalization(node)
    if found is None or found.mean is None:
        return False
    size = entries(found.x, 1)
    if size is None or size < LARGE_SAMPLE:
        return False
    path, last = module_path(node), found.last

    def planes(array: Array, name: str) -> ir.Value:
        return constant(graph, array.reshape(-1, *[1] * (rank(found.x) - 2)), f"{path}.{name}")

    # Every value gets a shape, because later passes depend on it.
    whole = [] if found.x.shape is None else list(found.x.shape)
    shape = [*whole[:2], *[1] * (len(whole) - 2)]
    mean = found.mean if isinstance(found.mean, ir.Value) else planes(found.mean, "mean")
    scale = found.scale
    if scale is None:
        weight = planes(found.weight, "scale")
        scale = emit(graph, last, "Div", [weight, found.deviation], shape)
    product = emit(graph, last, "Mul", [mean, scale], shape)
    if found.bias is None:
        shift = emit(graph, last, "Neg", [product], shape)
    else:
        shift = emit(graph, last, "Sub", [planes(found.bias, "shift"), product], shape)
    scaled = emit(graph, last, "Mul", [found.x, scale], found.x.shape)
    replace(graph, last, emit(graph, last, "Add", [scaled, shift]))
    return True
