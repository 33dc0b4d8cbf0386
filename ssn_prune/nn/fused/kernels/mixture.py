"""The mixture of the normalizers' statistics, by plane, and the output that follows from it.

It is computed where it is used, in float64, from ``pooled``, one float64 tensor:

=================== ============================================================================
24                  both gates, see :mod:`ssn_prune.nn.fused.kernels.gates`
(2, N)              LN's means and variances; unused without LN
(2, G, C)           BN's, for each of G groups of the batch; unused without BN
=================== ============================================================================
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssn_prune.nn.fused.kernels.planes import part_of, strides


@triton.jit
def layer_statistics(pooled):
    """Where LN's statistics are."""
    return pooled + 24


@triton.jit
def batch_statistics(pooled, N):
    """Where BN's statistics are."""
    return pooled + 24 + 2 * N


@triton.jit
def bessel(count):
    """The factor count / (count - 1), float64; 1 where that is undefined."""
    return tl.where(count > 1.0, count / tl.maximum(count - 1.0, 1.0), 1.0)


@triton.jit
def not_negative(value):
    """0 where rounding made the value negative; unlike a maximum with 0, it keeps NaN."""
    return tl.where(value < 0.0, 0.0, value)


@triton.jit
def weighted(ratio, value):
    """Ratio times value; a normalizer whose ratio is zero does not spread its NaN."""
    return tl.where(ratio == 0.0, 0.0, ratio * value)


@triton.jit
def mixture(
    moments,
    pooled,
    reference,
    n,
    c,
    group,
    N,
    C,
    M,
    groups,
    OWN_COUNT: tl.constexpr,
    HAS_IN: tl.constexpr,
    HAS_LN: tl.constexpr,
    HAS_BN: tl.constexpr,
):
    """Statistics of some planes; all float64, means relative to the reference.

    Args:
        moments: Plane means relative to the reference, and variances, (2, N, C) float64.
        pooled: See the module.
        reference: The references of the planes, float64.
        n: Samples, at most N - 1.
        c: Channels, at most C - 1, broadcastable against n.
        group: The groups of the samples.

    Returns:
        IN's mean and variance, and the mixed ones.
    """
    plane = n * C + c
    mean_in = tl.load(moments + plane)
    var_in = tl.load(moments + N * C + plane)
    if OWN_COUNT:
        var_in = var_in * bessel(reference * 0.0 + M)
    mean, var = reference * 0.0, reference * 0.0
    total = tl.load(pooled) * 0.0
    if HAS_IN:
        p, q = tl.load(pooled), tl.load(pooled + 12)
        mean += weighted(p, mean_in)
        var += weighted(q, var_in)
        total += p
    if HAS_LN:
        p, q = tl.load(pooled + 1), tl.load(pooled + 13)
        layer = layer_statistics(pooled) + n
        mean += weighted(p, tl.load(layer) - reference)
        var += weighted(q, tl.load(layer + N))
        total += p
    if HAS_BN:
        p, q = tl.load(pooled + 2), tl.load(pooled + 14)
        batch = batch_statistics(pooled, N) + group * C + c
        mean += weighted(p, tl.load(batch) - reference)
        var += weighted(q, tl.load(batch + groups * C))
        total += p
    # Ratios that were set by hand need not sum to 1.
    mean += (total - 1.0) * reference
    return mean_in, var_in, mean, var


@triton.jit
def spread(channels, C, LANES: tl.constexpr):
    """Channels by lane, (channels, LANES), at most C - 1.

    Without this, a thread would compute the statistics of every plane that it holds a part of. With
    as many entries as threads, and one reduction over the lanes, it computes those of one plane.
    """
    return tl.minimum(channels, C - 1)[:, None] + tl.zeros((1, LANES), tl.int32)


@triton.jit
def gathered(values):
    """The value that all lanes of a channel have, as a float32 column."""
    return tl.max(values.to(tl.float32), axis=1)[:, None]


@triton.jit(do_not_specialize=["N", "groups"])
def normalize(
    x,
    y,
    moments,
    pooled,
    weight,
    bias,
    N,
    C,
    M,
    groups,
    EPS: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    HAS_IN: tl.constexpr,
    HAS_LN: tl.constexpr,
    HAS_BN: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    LANES: tl.constexpr,
):
    """Y = ((x - reference) - shift) * scale + bias, with shift and scale of the plane's mixture.

    A plain x * scale + shift would lose accuracy where the mean is many deviations away.

    Args:
        x: (N, C, M).
        y: Out: the output, laid out as x.
        moments: See :func:`mixture`, also for ``pooled``.
        weight: (C,), or None.
        bias: (C,), or None.
    """
    blocks = tl.cdiv(C, BLOCK_C)
    n = tl.program_id(0) // blocks
    channels = (tl.program_id(0) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_c = channels < C
    channel_stride, position_stride = strides(C, M, CHANNELS_LAST)
    sample = n.to(tl.int64) * C * M
    c = spread(channels, C, LANES)
    reference = tl.load(x + (sample + c * channel_stride)).to(tl.float32)
    _, _, mean, var = mixture(
        moments,
        pooled,
        reference.to(tl.float64),
        n,
        c,
        n // (N // groups),
        N,
        C,
        M,
        groups,
        OWN_COUNT,
        HAS_IN,
        HAS_LN,
        HAS_BN,
    )
    scale = tl.rsqrt(var + EPS)
    if weight is not None:
        scale = scale * tl.load(weight + c).to(tl.float64)
    added = reference * 0.0
    if bias is not None:
        added = tl.load(bias + c).to(tl.float32)
    scale, shift, added = gathered(scale), gathered(mean), gathered(added)
    reference = gathered(reference)
    offset = sample + channels * channel_stride
    start, stop = part_of(M, BLOCK_M)
    for begin in range(start, stop, BLOCK_M):
        m = begin + tl.arange(0, BLOCK_M)
        inside = in_c[:, None] & (m < stop)[None, :]
        places = offset[:, None] + m[None, :] * position_stride
        value = tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
        value = ((value - reference) - shift) * scale + added
        tl.store(y + places, value, mask=inside)
