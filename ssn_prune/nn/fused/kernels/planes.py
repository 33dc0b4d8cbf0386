"""The two reductions over the activation: plane moments forward, sums of the gradient backward.

A program reduces some channels of one sample over a part of the positions. It works on x minus the
plane's first value, its *reference*. This difference is exact in float32 wherever the values are
close together, so a large mean costs no accuracy.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def strides(C, M, CHANNELS_LAST: tl.constexpr):
    """The strides of a channel and of a position."""
    if CHANNELS_LAST:
        return 1, C
    return M, 1


@triton.jit
def part_of(M, BLOCK_M: tl.constexpr):
    """First position, and one past the last, of the program's part of a plane."""
    chunk = tl.cdiv(tl.cdiv(M, BLOCK_M), tl.num_programs(1)) * BLOCK_M
    start = tl.program_id(1) * chunk
    return start, tl.minimum(start + chunk, M)


@triton.jit(do_not_specialize=["N"])
def plane_moments(
    x,
    scratch,
    N,
    C,
    M,
    CHANNELS_LAST: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Mean relative to the reference, and sum of squares about the mean, by part of a plane.

    Args:
        x: (N, C, M).
        scratch: Out: means and squares by part, then the references, (2 parts + 1, N, C) float64.
    """
    blocks = tl.cdiv(C, BLOCK_C)
    n = tl.program_id(0) // blocks
    c = (tl.program_id(0) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.program_id(1)
    in_c = c < C
    channel_stride, position_stride = strides(C, M, CHANNELS_LAST)
    base = x + n.to(tl.int64) * C * M + c * channel_stride
    reference = tl.load(base, mask=in_c, other=0.0).to(tl.float32)
    start, stop = part_of(M, BLOCK_M)

    # Welford's recurrence in every lane; the lanes are pooled once, at the end.
    mean = tl.zeros((BLOCK_C, BLOCK_M), tl.float32)
    squares = tl.zeros((BLOCK_C, BLOCK_M), tl.float32)
    count = 0.0
    for begin in tl.range(start, stop, BLOCK_M, num_stages=3):
        m = begin + tl.arange(0, BLOCK_M)
        inside = in_c[:, None] & (m < stop)[None, :]
        value = tl.load(base[:, None] + m[None, :] * position_stride, mask=inside, other=0.0)
        value = value.to(tl.float32) - reference[:, None]
        count += 1.0
        delta = value - mean
        updated = mean + delta * (1.0 / count)
        squares = tl.where(inside, squares + delta * (value - updated), squares)
        mean = tl.where(inside, updated, mean)
    total = tl.maximum(stop - start, 0)
    full = total // BLOCK_M
    counts = full + (tl.arange(0, BLOCK_M) < total - full * BLOCK_M).to(tl.int32)
    # The gradient of a gate is a small difference of large sums, which must not be rounded first.
    weighted = mean.to(tl.float64) * counts[None, :]
    pooled = tl.sum(weighted, axis=1) / tl.maximum(total, 1)
    deviation = mean - pooled.to(tl.float32)[:, None]
    spread = squares + counts.to(tl.float32)[None, :] * deviation * deviation
    # About the exact mean, not the rounded one.
    error = pooled - pooled.to(tl.float32).to(tl.float64)
    squares = tl.sum(spread.to(tl.float64), axis=1) - total * error * error
    squares = tl.where(squares < 0.0, 0.0, squares)

    planes = N * C
    here = scratch + n * C + c
    tl.store(here + (2 * part) * planes, pooled, mask=in_c)
    tl.store(here + (2 * part + 1) * planes, squares, mask=in_c)
    if part == 0:
        tl.store(here + 2 * tl.num_programs(1) * planes, reference.to(tl.float64), mask=in_c)


@triton.jit(do_not_specialize=["N"])
def gradient_sums(
    grad,
    x,
    moments,
    scratch,
    N,
    C,
    M,
    CHANNELS_LAST: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """T = sum of g, and H = sum of g (x - mean_in) with mean_in rounded, by part of a plane.

    Args:
        grad: g, (N, C, M), laid out as x.
        x: (N, C, M).
        moments: Plane means relative to the reference, and variances, (2, N, C) float64.
        scratch: Out: T and H by part, then the references, (2 parts + 3, N, C) float32. The last
            two rows are left for :func:`pool_gradients`.
    """
    blocks = tl.cdiv(C, BLOCK_C)
    n = tl.program_id(0) // blocks
    c = (tl.program_id(0) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    part = tl.program_id(1)
    in_c = c < C
    channel_stride, position_stride = strides(C, M, CHANNELS_LAST)
    offset = n.to(tl.int64) * C * M + c * channel_stride
    reference = tl.load(x + offset, mask=in_c, other=0.0).to(tl.float32)
    mean = tl.load(moments + n * C + c, mask=in_c, other=0.0).to(tl.float32)
    start, stop = part_of(M, BLOCK_M)
    total = tl.zeros((BLOCK_C, BLOCK_M), tl.float32)
    with_x = tl.zeros((BLOCK_C, BLOCK_M), tl.float32)
    for begin in tl.range(start, stop, BLOCK_M, num_stages=3):
        m = begin + tl.arange(0, BLOCK_M)
        inside = in_c[:, None] & (m < stop)[None, :]
        places = offset[:, None] + m[None, :] * position_stride
        g = tl.load(grad + places, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
        total += g
        centred = (value - reference[:, None]) - mean[:, None]
        with_x += tl.where(inside, g * centred, 0.0)
    planes = N * C
    here = scratch + n * C + c
    # As above: rounded only when it is one number.
    sums = tl.sum(total.to(tl.float64), axis=1).to(tl.float32)
    tl.store(here + (2 * part) * planes, sums, mask=in_c)
    sums = tl.sum(with_x.to(tl.float64), axis=1).to(tl.float32)
    tl.store(here + (2 * part + 1) * planes, sums, mask=in_c)
    if part == 0:
        tl.store(here + 2 * tl.num_programs(1) * planes, reference, mask=in_c)
