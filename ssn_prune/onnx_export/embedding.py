"""Preprocessing in the graph: Cast, Mul and Add at its start, so that the file takes pixels.

A convolution pads normalized values with zeros. Folded into its kernel, the normalization would be
wrong at the border, because a zero pixel is not a normalized zero. At the start of the graph it is
exact, and its values are those of :func:`ssn_prune.images.pixels.normalized`.
"""

from __future__ import annotations

import onnx_ir as ir

from ssn_prune.errors import ArgumentError
from ssn_prune.images.pixels import affine
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.onnx_export.passes.editing import constant, free_name
from ssn_prune.onnx_export.targets import TARGETS, Target

MODULE = "preprocessing"


def require_pixels(target: Target) -> None:
    """Refuse a target whose runtime is not known to take pixels.

    Raises:
        ArgumentError: It is such a target.
    """
    if not target.pixels:
        known = [repr(entry.name) for entry in TARGETS if entry.pixels]
        raise ArgumentError(
            f"{target.title} does not take files with pixels as their input",
            expected=f"`target=` {' or '.join(known)}",
            found=f"`target={target.name!r}`",
            hint="leave `embed_preprocessing=` out",
        )


def embed(graph: ir.Graph, how: Preprocessing) -> None:
    """Make a graph take pixels, uint8 of the same shape and name, in place.

    Args:
        graph: The graph, with one input, float32 (N, C, H, W).
        how: The normalization of the pixels.
    """
    (inner,) = graph.inputs
    pixels = ir.Value(name=inner.name, shape=inner.shape, type=ir.TensorType(ir.DataType.UINT8))
    scale, shift = (value[None].numpy() for value in affine(how))
    first = next(iter(graph), None)
    cast = ir.node("Cast", [pixels], attributes={"to": ir.DataType.FLOAT.value})
    scaled = ir.node("Mul", [cast.outputs[0], constant(graph, scale, f"{MODULE}.scale")])
    shifted = ir.node("Add", [scaled.outputs[0], constant(graph, shift, f"{MODULE}.shift")])
    graph.inputs[0] = pixels
    for made in (cast, scaled, shifted):
        made.name = f"{MODULE}/{made.op_type}"
        (value,) = made.outputs
        value.name = free_name(graph, f"{MODULE}.{made.op_type.lower()}")
        value.shape, value.type = inner.shape, ir.TensorType(ir.DataType.FLOAT)
        if first is None:
            graph.append(made)
        else:
            graph.insert_before(first, made)
    ir.convenience.replace_all_uses_with(inner, shifted.outputs[0])
