"""Adaptive pooling to several positions cannot be exported with dynamic sizes.

Its windows depend on the size. ONNX has no such operator, so torch's exporter silently writes the
windows of the example's size into the file, which is then wrong at every other size. Pooling to one
position is a mean or a maximum over all positions, and is right at any size.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from ssn_prune.errors import ExportError


def require_fixed_windows(program: torch.export.ExportedProgram) -> None:
    """Refuse adaptive pooling to several positions over axes of dynamic size.

    Args:
        program: The captured program.

    Raises:
        ExportError: The program has such a pooling.
    """
    for node in program.graph.nodes:
        kind = re.match(r"aten\.(adaptive_\w+_pool(\d)d)\b", str(node.target))
        if node.op != "call_function" or kind is None:
            continue
        pooled, sizes = node.args[0].meta["val"], node.args[1]
        axes = int(kind[2])
        wanted = list(sizes) if isinstance(sizes, list | tuple) else [sizes] * axes
        if not isinstance(pooled, Tensor):
            continue
        for size, given in zip(wanted, pooled.shape[-axes:], strict=False):
            if size != 1 and not isinstance(given, int):
                raise ExportError(
                    f"{kind[1]} to {_shown(wanted)} cannot be exported with dynamic sizes",
                    expected="adaptive pooling to one position, or a fixed size",
                    found=f"windows of {kind[1]} that depend on the size of the image, which no "
                    "ONNX operator can express",
                    hint='convert once per size, with `dynamic="batch"`; or pool to one position',
                )


def _shown(sizes: list[Any]) -> str:
    """Sizes as text, such as 7x7; ``size`` stands for the size of the image itself."""
    return "x".join(str(size) if isinstance(size, int) else "size" for size in sizes)
