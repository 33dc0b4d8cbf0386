r"""Fold algebra: what moves from a normalizer into the convolution in front of it, or behind it.

For a convolution y = W * x + b followed by a normalizer, with
:math:`s = w / \sqrt{\mathrm{running\_var} + \epsilon}`:

==========  ==========  =========================  ==========================================
mean / var  W becomes   b becomes                  what is left
==========  ==========  =========================  ==========================================
BN / BN     s W         (b - running_mean) s + β   nothing
IN / BN     s W         (b - c) s                  y - mean_in(y) + β
LN / BN     s W         s b                        y - s Σ mean_in(y_c) / (C s_c) + β
BN / IN     W           b - running_mean           the variance and one scale
BN / LN     W           b - running_mean           the variance (with the mean added back), scale
IN / IN     W           b - c                      instance norm
==========  ==========  =========================  ==========================================

An IN mean cancels any bias in front of it, so the convolution's own is dead there and any constant
c may be subtracted. c is chosen to centre the channel (graph/centring.py), which costs nothing at
run time: runtimes sum a nearly constant channel with a large mean inaccurately.

A static normalizer (BN/BN) is the affine map x s + t with t = β - running_mean s. Behind another
normalizer it becomes part of that one's weight and bias; in front of a convolution without zero
padding, W' = W s on the input channels and b' = b + Σ W t.

Everything is computed in float64 and cast once.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 2**20  # entries that are in float64 at a time


def static_scale(weight: Tensor, running_var: Tensor, eps: float) -> Tensor:
    """The scale weight / sqrt(running_var + eps), in float64, shape (C,)."""
    return weight.double() / (running_var.double() + eps).sqrt()


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
    taps = [1] * (kernel.dim() - 2)
    if not transposed:
        return _scaled(kernel.unsqueeze(0), scale.view(1, -1, 1, *taps), dtype).view_as(kernel)
    grouped = kernel.unflatten(0, (groups, -1))
    return _scaled(grouped, scale.view(groups, 1, -1, *taps), dtype).view_as(kernel)


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
    """The product in float64, block by block: a large kernel is never as a whole in float64.

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
    """What a constant per input channel adds to each output channel, (C_out,), in float64.

    The arguments are those of :func:`scale_input_channels`; exact where nothing is zero-padded.
    """
    taps: Tensor = kernel.unsqueeze(-1).flatten(2).sum(2, dtype=torch.float64)
    by_input = taps.view(groups, -1, taps.shape[1])  # (groups, C_out / groups, C_in / groups)
    return (by_input * shift.double().view(groups, 1, -1)).sum(2).flatten()


def static_shift(bias: Tensor | None, running_mean: Tensor, scale: Tensor) -> Tensor:
    """The shift bias - running_mean * scale of a static normalizer, in float64, shape (C,)."""
    shift = -running_mean.double() * scale.double()
    return shift if bias is None else shift + bias.double()


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


def is_normal(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether all values survive a cast to ``dtype`` as finite normal numbers (zero is not)."""
    info = torch.finfo(dtype)
    magnitude = values.double().abs()
    return bool(((magnitude >= info.tiny) & (magnitude <= info.max)).all())
