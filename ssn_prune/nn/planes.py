r"""The passes over the big tensor: everything that touches all N C M entries of an activation.

A switchable layer needs two reductions and two affine maps per (n, c) *plane* (the M positions of
one channel of one sample); all else is algebra on (N, C). Their cost is memory traffic, so each
pass is one operator of torch that reads every entry once:

======================  =========================================  ================================
pass                    operator, dense tensors on the CPU          otherwise
======================  =========================================  ================================
moments, standardize    group_norm, one group per channel           sum, subtract, sum of squares
scale and shift         two in-place operators on that output       the same
sums of the gradient    batch_norm_backward, both sums at once      sum, subtract, product, sum
gradient of the input   batch_norm with N C channels, addcmul       three in-place operators
======================  =========================================  ================================

Their times, compared with those of ``var_mean`` and of BatchNorm, are in
benchmarks/results/training_speed.md. Planes of at most :data:`SMALL_PLANE` positions take the right
column with matrix products for the sums.

**Precision.** The variance comes out of group_norm as 1/sqrt(var + floor). With torch's default
floor of 1e-5 a variance of 1e-8 would be recovered with an error of 2e-4; with :data:`FLOOR` the
error is at most 4 + |mean| / std units in the last place of var + 1e-12, because group_norm sums
values that are not centred; small planes are centred first and stay within 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from ssn_prune.nn.variance_kind import FROM_PLANES, bessel

Array = Any  # float64 NumPy array where reads_host, else a tensor of the wide dtype

# Keeps 1/sqrt(var) finite on constant planes; far below any eps that is added to a variance.
FLOOR = 1e-12


HALVES = (torch.float16, torch.bfloat16)


def wide_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the (N, C) algebra: float64, or float32 on devices that have no float64."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def computed(x: Tensor) -> Tensor:
    """The tensor in the precision of the computation: half precision becomes float32."""
    return x.float() if x.dtype in HALVES else x


def bessel_factor(positions: int, correction: int) -> float:
    """M / (M - 1) if all variances follow from corrected plane variances, else 1.

    Where it is undefined it is 1 too; see ``MomentMixture.undefine``.
    """
    return bessel(positions) if correction == FROM_PLANES else 1.0


def positions_of(x: Tensor) -> int:
    """M, the number of positions of a plane."""
    return math.prod(x.shape[2:])


def is_traced() -> bool:
    """Whether the operators are recorded, for a compiler, an export or torch.jit."""
    return torch.compiler.is_compiling() or torch._C._is_tracing()


def is_jit_traced() -> bool:
    """Whether torch.jit.trace is running, by itself or in torch's tracing ONNX exporter."""
    return not torch.compiler.is_compiling() and torch._C._is_tracing()


def reads_host(*tensors: Tensor) -> bool:
    """Whether values can be read without waiting for a device or leaving a traced graph."""
    for x in tensors:
        if not (x.is_cpu and type(x) in (Tensor, torch.nn.Parameter)):
            return False
    return (
        not is_traced()
        and (torch._C._len_torch_dispatch_stack() == 0 or _only_watched())
        and torch._C._functorch.maybe_current_level() is None
    )


def _only_watched() -> bool:
    """Whether all dispatch modes declare that they leave the tensors of operators as they are."""
    modes = _get_current_dispatch_mode_stack()
    return all(getattr(mode, "only_watches", False) for mode in modes)


def to_array(values: Tensor, host: bool) -> Array:
    """(N, C) or (C,) values for the algebra in wide precision.

    On the host this is a view in the values' own precision, which float64 arrays widen; half
    precision is copied to float32.
    """
    values = values.detach()
    if not host:
        return values.to(wide_dtype(values))
    return values.float().numpy() if values.dtype in HALVES else values.numpy()


def to_tensor(values: Array, like: Tensor, *shape: int) -> Tensor:
    """Turn an array back into a tensor of a shape, with the dtype of ``like``."""
    if isinstance(values, Tensor):
        return values.to(like.dtype).reshape(shape)
    if like.dtype == torch.float32:
        return torch.from_numpy(values.astype(np.float32).reshape(shape))
    return torch.from_numpy(values.copy().reshape(shape)).to(like.dtype)


def to_planes(values: Array, like: Tensor) -> Tensor:
    """(G, n, C) values as a tensor that broadcasts against ``like`` (N, C, ...), of its dtype."""
    return to_tensor(values, like, *like.shape[:2], *[1] * (like.dim() - 2))


# On planes of up to this many positions the gradient of the input is a small difference (a plane of
# four has two degrees of freedom left). It needs centred values, which cost no more there.
SMALL_PLANE = 64


def is_dense(*tensors: Tensor) -> bool:
    """Whether the fused CPU operators apply: contiguous planes of float32 or float64."""
    for x in tensors:
        if not (x.dtype in (torch.float32, torch.float64) and x.is_contiguous()):
            return False
    return reads_host(*tensors)


def _planes(values: Tensor, like: Tensor) -> Tensor:
    """(N, C) values, shaped to broadcast against ``like`` (N, C, ...)."""
    return values.view(*values.shape, *[1] * (like.dim() - 2))


def standardize(x: Tensor) -> tuple[Tensor, Tensor, Array, Array | float]:
    """Moments of every plane, and the planes centred.

    Args:
        x: Shape (N, C, ...), float32 or float64.

    Returns:
        A new tensor z (N, C, ...); the mean (N, C) in the dtype of ``x``; an array of the mean and
        the biased variance (2, N, C); and the unit, (N, C) or 1: x = mean + unit * z.
    """
    n, c = x.shape[:2]
    if is_dense(x):
        positions = x.numel() // (n * c)
        fused = positions > SMALL_PLANE
        return _fused_moments(x, positions) if fused else _small_moments(x, positions)
    share = n * c / x.numel()
    exact = _wide_sums(x) * share
    mean = exact.to(x.dtype)
    z = x - _planes(mean, x)
    var = _wide_sums(z * z) * share
    var -= (exact - mean).square()  # z is centred at the rounded mean
    both = torch.stack((exact, var.clamp_(min=0)))
    return z, mean, both.numpy() if reads_host(x) else both, 1.0


def _fused_moments(x: Tensor, positions: int) -> tuple[Tensor, Tensor, Array, Array]:
    n, c = x.shape[:2]
    z, mean, rstd = torch.native_group_norm(x, None, None, n, c, positions, c, FLOOR)
    unit = np.divide(1.0, rstd.numpy(), dtype=np.float64)
    moments = np.empty((2, n, c))
    moments[0] = mean.numpy()
    var = np.multiply(unit, unit, out=moments[1])
    var -= FLOOR
    np.maximum(var, 0.0, out=var)
    return z, mean, moments, unit


def _small_moments(x: Tensor, positions: int) -> tuple[Tensor, Tensor, Array, float]:
    """Centred at a rounded mean; the sum of what is left makes the mean exact again."""
    n, c = x.shape[:2]
    share = 1.0 / positions
    ones = torch.ones(positions, dtype=x.dtype)
    # A product is several times as fast as a sum.
    rough = torch.mv(x.view(n * c, positions), ones).mul_(share).view(n, c)
    z = x - _planes(rough, x)
    rows = z.view(n * c, positions)
    moments = np.empty((2, n, c))
    mean, var = moments.reshape(2, -1)
    left = np.multiply(torch.mv(rows, ones).numpy(), share, out=mean)
    np.multiply(_row_products(rows, rows), share, out=var)
    var -= left * left
    np.maximum(var, 0.0, out=var)
    mean += rough.numpy().reshape(-1)
    return z, rough, moments, 1.0


def _row_products(a: Tensor, b: Tensor) -> Array:
    """The dot products of the rows of two matrices, without a matrix of products."""
    return np.einsum("ij,ij->i", a.numpy(), b.numpy())


def _wide_sums(x: Tensor) -> Tensor:
    """Sums over the positions, (N, C), in the wide dtype."""
    if x.device.type == "cpu":
        return x.sum(dim=list(range(2, x.dim())), dtype=wide_dtype(x))
    return sums_by_rows(x)  # a GPU would make a copy of x in the wide dtype


def sums_by_rows(x: Tensor) -> Tensor:
    """Like ``_wide_sums``, with the last axis summed in the precision of ``x``."""
    rows = x.sum(dim=-1)
    if rows.dim() == 2:
        return rows.to(wide_dtype(x))
    return rows.sum(dim=list(range(2, rows.dim())), dtype=wide_dtype(x))


def scale_and_shift_(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Z * scale + shift in place; scale and shift are :func:`to_planes` of (N, C) values."""
    return z.mul_(scale).add_(shift)


def backward_passes(
    grad: Tensor, x: Tensor, mean: Tensor
) -> tuple[Array, Array, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """The two passes of the backward computation.

    Args:
        grad: Gradient of the output, (N, C, ...).
        x: The input, (N, C, ...).
        mean: (N, C), in the dtype of ``x``.

    Returns:
        The sums over the positions of the gradient, and of the gradient times (x - mean), (N, C)
        or (N C); and a function of scale, slope and shift, which are :func:`to_planes` of (N, C)
        values, that returns scale * grad + slope * (x - mean) + shift. It may be called once.
    """
    dense = is_dense(x, grad)
    if dense and x.numel() > SMALL_PLANE * mean.numel():
        return _fused_backward(grad, x, mean)
    centred = x - _planes(mean, x)

    def combine(scale: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        return centred.mul_(slope).add_(shift).addcmul_(grad, scale)

    if dense:
        rows = grad.view(mean.numel(), -1)
        # The gradient of a mean gate is a small difference of these sums: they stay in float64.
        wide = torch.mv(rows.double(), torch.ones(rows.shape[1], dtype=torch.float64))
        return wide.numpy(), _row_products(rows, centred.view_as(rows)), combine
    host = reads_host(x)
    wide, with_x = _wide_sums(grad), _wide_sums(grad * centred)
    return to_array(wide, host), to_array(with_x, host), combine


def _fused_backward(
    grad: Tensor, x: Tensor, mean: Tensor
) -> tuple[Array, Array, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    channels = mean.numel()
    columns = x.view(1, channels, -1)
    mean, ones = mean.view(channels), torch.ones(channels, dtype=mean.dtype)
    _, with_x, total = torch.ops.aten.native_batch_norm_backward(
        grad.view(1, channels, -1),
        columns,
        None,
        mean,
        ones,
        None,
        None,
        False,
        0.0,
        [False, True, True],
    )

    def combine(scale: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
        result: Tensor = torch.native_batch_norm(
            columns, slope.view(channels), shift.view(channels), mean, ones, False, 0.0, 0.0
        )[0]
        return result.view_as(x).addcmul_(grad, scale)

    return total.numpy().astype(np.float64), with_x.numpy(), combine
