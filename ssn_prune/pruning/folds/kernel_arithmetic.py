"""What folds compute with the weights of a convolution: everything in float64, cast once.

A kernel is (C_out, C_in / groups, ...), that of a transposed convolution
(C_in, C_out / groups, ...).
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 2**20  # entries that are converted to float64 at a time


def scale_output_channels(
    kernel: Tensor,
    scale: Tensor,
    *,
    transposed: bool = False,
    groups: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Multiply the output channels of a convolution kernel, in float64.

    Args:
        kernel: (C_out, C_in / groups, ...), or (C_in, C_out / groups, ...) if transposed.
        scale: (C_out,).
        transposed: Whether the kernel is that of a transposed convolution.
        groups: Groups of the convolution; matters for transposed kernels only, whose output
            channels lie on axis 1 within each group.
        dtype: Of the result, to which the products are cast once.
    """
    window = [1] * (kernel.dim() - 2)
    if not transposed:
        return _scaled(kernel.unsqueeze(0), scale.view(1, -1, 1, *window), dtype).view_as(kernel)
    grouped = kernel.unflatten(0, (groups, -1))
    return _scaled(grouped, scale.view(groups, 1, -1, *window), dtype).view_as(kernel)


def scale_input_channels(
    kernel: Tensor, scale: Tensor, *, groups: int = 1, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Multiply the input channels of a convolution kernel, in float64.

    Args:
        kernel: (C_out, C_in / groups, ...), not transposed.
        scale: (C_in,).
        groups: Groups of the convolution.
        dtype: Of the result, to which the products are cast once.
    """
    grouped = kernel.unflatten(0, (groups, -1))
    factor = scale.view(groups, 1, -1, *[1] * (kernel.dim() - 2))
    return _scaled(grouped, factor, dtype).view_as(kernel)


def _scaled(grouped: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """The product in float64, block by block: a large kernel is never held in float64 as a whole.

    Args:
        grouped: (groups, rows, columns, ...).
        factor: The same number of axes, each as long as that of ``grouped`` or 1.
        dtype: Of the result.
    """
    if grouped.numel() <= _BLOCK:
        return (grouped.double() * factor.double()).to(dtype)
    result = torch.empty_like(grouped, dtype=dtype)
    axis = 0 if grouped.shape[0] > 1 else 1
    size = grouped.shape[axis]
    step = max(1, _BLOCK * size // grouped.numel())
    for start in range(0, size, step):
        length = min(step, size - start)
        by = factor if factor.shape[axis] == 1 else factor.narrow(axis, start, length)
        block = grouped.narrow(axis, start, length)
        result.narrow(axis, start, length).copy_(block.double() * by.double())
    return result


def shifted_by_inputs(kernel: Tensor, shift: Tensor, *, groups: int = 1) -> Tensor:
    """What constants per input channel add to the output channels, (C_out,), in float64.

    The arguments are those of :func:`scale_input_channels`; exact where nothing is zero-padded.
    """
    window: Tensor = kernel.unsqueeze(-1).flatten(2).sum(2, dtype=torch.float64)
    by_input = window.view(groups, -1, window.shape[1])  # (groups, C_out / groups, C_in / groups)
    return (by_input * shift.double().view(groups, 1, -1)).sum(2).flatten()


def folded_bias(
    bias: Tensor | None, *, scale: Tensor | None = None, mean: Tensor | None, shift: Tensor | None
) -> Tensor | None:
    """(bias - mean) * scale + shift in float64, absent terms being 0, 0, 1, 0.

    Returns None when no term is present, so that no bias is created for nothing.
    """
    terms = [t for t in (bias, mean, shift) if t is not None]
    if not terms:
        return None
    total = torch.zeros_like(terms[0], dtype=torch.float64)
    if bias is not None:
        total = total + bias.double()
    if mean is not None:
        total = total - mean.double()
    if scale is not None:
        total = total * scale.double()
    if shift is not None:
        total = total + shift.double()
    return total
