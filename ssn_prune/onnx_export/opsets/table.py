"""What must be written differently in operator sets older than torch's exporter writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from ssn_prune.onnx_export.opsets import (
    axes_as_attribute,
    cast_like,
    circular_pad,
    hard_swish,
    mish,
    reshape_zeros,
    shape_range,
    split_sizes,
)


@dataclass(frozen=True)
class Respelling:
    """Operators that must be written differently in older operator sets.

    Attributes:
        operators: Their names.
        since: The operator set that introduced the newer spelling.
        rewrite: Replaces a node by the older spelling, in place, and returns whether it could.
            Every value keeps its name.
    """

    operators: tuple[str, ...]
    since: int
    rewrite: Callable[[ir.Graph, ir.Node], bool]


RESPELLINGS: tuple[Respelling, ...] = (
    Respelling(("Pad",), 19, circular_pad.rewrite),
    Respelling(axes_as_attribute.OPERATORS, 18, axes_as_attribute.rewrite),
    Respelling(("Split",), 18, split_sizes.rewrite),
    Respelling(("Mish",), 18, mish.rewrite),
    Respelling(("Shape",), 15, shape_range.rewrite),
    Respelling(("CastLike",), 15, cast_like.rewrite),
    Respelling(("HardSwish",), 14, hard_swish.rewrite),
    Respelling(("Reshape",), 14, reshape_zeros.rewrite),
)


IMPLIED: dict[tuple[str, str], int | str] = {
    ("BatchNormalization", "training_mode"): 0,
    ("GRU", "layout"): 0,
    ("LSTM", "layout"): 0,
    ("RNN", "layout"): 0,
    **{(operator, "noop_with_empty_axes"): 0 for operator in axes_as_attribute.OPERATORS},
    ("Reshape", "allowzero"): 0,
    ("Resize", "antialias"): 0,
    ("Resize", "keep_aspect_ratio_policy"): "stretch",
    ("RoiAlign", "coordinate_transformation_mode"): "output_half_pixel",
    ("ScatterElements", "reduction"): "none",
    ("ScatterND", "reduction"): "none",
    ("Shape", "start"): 0,
}
"""Attributes, and the value that an operator set without the attribute implies."""

NEW_VALUES: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {
    ("Pad", "mode"): (19, ("wrap",)),  # torch's exporter also writes it in 18
    ("ScatterElements", "reduction"): (18, ("max", "min")),
    ("ScatterND", "reduction"): (18, ("max", "min")),
}
"""Values that are newer than their attribute, and the operator set that introduced them."""
