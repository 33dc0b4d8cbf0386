"""From the pooled gradients to the gradient of the input, and to those of the gates."""

from __future__ import annotations

import triton
import triton.language as tl

from ssn_prune.nn.fused.kernels.gates import pull_back
from ssn_prune.nn.fused.kernels.gradient_pooling import parts_of
from ssn_prune.nn.fused.kernels.mixture import (
    batch_statistics,
    bessel,
    gathered,
    layer_statistics,
    mixture,
    spread,
    weighted,
)
from ssn_prune.nn.fused.kernels.planes import part_of, strides


@triton.jit
def _total(sums, programs, BLOCK_P: tl.constexpr):
    """The sum of one column of (programs, 6)."""
    total = tl.zeros((BLOCK_P,), tl.float64)
    for begin in range(0, programs, BLOCK_P):
        p = begin + tl.arange(0, BLOCK_P)
        total += tl.load(sums + 6 * p, mask=p < programs, other=0.0)
    return tl.sum(total, axis=0)


@triton.jit
def passed_on(
    scratch,
    moments,
    pooled,
    sums,
    weight,
    reference,
    n,
    c,
    N,
    C,
    M,
    groups,
    EPS: tl.constexpr,
    FROM_PLANES: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    HAS_IN: tl.constexpr,
    HAS_LN: tl.constexpr,
    HAS_BN: tl.constexpr,
    PARTS: tl.constexpr,
):
    """The gradient of some planes of x is scale * g + slope * (x - mean_in) + shift.

    Returns:
        mean_in minus the reference, scale, slope and shift; float64.
    """
    layer_gradient, batch_gradient, _gates = parts_of(sums, N, C, groups)
    size = N // groups
    group = n // size
    mean_in, _var, _mean, var = mixture(
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
        OWN_COUNT,
        HAS_IN,
        HAS_LN,
        HAS_BN,
    )
    scale = tl.rsqrt(var + EPS)
    if weight is not None:
        scale = scale * tl.load(weight + c).to(tl.float64)
    to_mean, to_var = reference * 0.0, reference * 0.0
    if HAS_IN:
        p, q = tl.load(pooled), tl.load(pooled + 12)
        if OWN_COUNT:
            q = q * bessel(q * 0.0 + M)
        mixed = scratch + (2 * PARTS + 1) * N * C + n * C + c
        to_mean += weighted(p, tl.load(mixed).to(tl.float64))
        to_var += weighted(q, tl.load(mixed + N * C).to(tl.float64))
    if HAS_LN:
        p, q = tl.load(pooled + 1), tl.load(pooled + 13)
        passed = weighted(q, tl.load(layer_gradient + N + n))
        deviation = reference + mean_in - tl.load(layer_statistics(pooled) + n)
        to_mean += weighted(p, tl.load(layer_gradient + n))
        to_mean += tl.where(q == 0.0, 0.0, 2.0 * deviation * passed)
        to_var += passed
    if HAS_BN:
        p, q = tl.load(pooled + 2), tl.load(pooled + 14)
        here = group * C + c
        passed = weighted(q, tl.load(batch_gradient + groups * C + here))
        deviation = reference + mean_in - tl.load(batch_statistics(pooled, N) + here)
        to_mean += weighted(p, tl.load(batch_gradient + here))
        to_mean += tl.where(q == 0.0, 0.0, 2.0 * deviation * passed)
        to_var += passed
    share = 1.0 / (reference * 0.0 + M)
    slope = 2.0 * share * to_var
    if FROM_PLANES:
        slope = slope * bessel(reference * 0.0 + M)
    return mean_in, scale, slope, to_mean * share


@triton.jit
def finish_gates(
    sums,
    pooled,
    mean_gradient,
    var_gradient,
    N,
    C,
    groups,
    programs,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    K: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Store the gradients of the logits of both gates."""
    _layer, _batch, gate_sums = parts_of(sums, N, C, groups)
    for_in = _total(gate_sums, programs, BLOCK_P)
    for_ln = _total(gate_sums + 1, programs, BLOCK_P)
    for_bn = _total(gate_sums + 2, programs, BLOCK_P)
    pull_back(mean_gradient, pooled, for_in, for_ln, for_bn, FIRST, SECOND, K)
    for_in = _total(gate_sums + 3, programs, BLOCK_P)
    for_ln = _total(gate_sums + 4, programs, BLOCK_P)
    for_bn = _total(gate_sums + 5, programs, BLOCK_P)
    pull_back(var_gradient, pooled + 12, for_in, for_ln, for_bn, FIRST, SECOND, K)


@triton.jit(do_not_specialize=["N", "groups", "programs"])
def input_gradient(
    grad,
    x,
    result,
    scratch,
    moments,
    pooled,
    sums,
    weight,
    mean_gradient,
    var_gradient,
    N,
    C,
    M,
    groups,
    programs,
    EPS: tl.constexpr,
    FROM_PLANES: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    HAS_IN: tl.constexpr,
    HAS_LN: tl.constexpr,
    HAS_BN: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_M: tl.constexpr,
    LANES: tl.constexpr,
):
    """Scale * g + slope * (x - mean_in) + shift; the first program also finishes the gates.

    Args:
        grad: g, laid out as x.
        x: (N, C, M).
        result: Out: the gradient of x, laid out as x; None if nobody needs it.
        scratch: See :func:`pool_gradients`.
        sums: See :mod:`ssn_prune.nn.fused.kernels.gradient_pooling`.
        mean_gradient: Out: that of the mean gate's logits, (K,); None if the gates need none.
        var_gradient: The same for the variance gate.
        programs: Number of programs of :func:`pool_gradients`.
    """
    if mean_gradient is not None:  # noqa: SIM102 - known when compiled, the other is not
        if (tl.program_id(0) == 0) & (tl.program_id(1) == 0):
            finish_gates(
                sums,
                pooled,
                mean_gradient,
                var_gradient,
                N,
                C,
                groups,
                programs,
                FIRST,
                SECOND,
                K,
                BLOCK_P,
            )
    if result is not None:
        blocks = tl.cdiv(C, BLOCK_C)
        n = tl.program_id(0) // blocks
        channels = (tl.program_id(0) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
        in_c = channels < C
        channel_stride, position_stride = strides(C, M, CHANNELS_LAST)
        sample = n.to(tl.int64) * C * M
        c = spread(channels, C, LANES)
        first = tl.load(x + (sample + c * channel_stride)).to(tl.float32)
        mean_in, scale, slope, shift = passed_on(
            scratch,
            moments,
            pooled,
            sums,
            weight,
            first.to(tl.float64),
            n,
            c,
            N,
            C,
            M,
            groups,
            EPS,
            FROM_PLANES,
            OWN_COUNT,
            HAS_IN,
            HAS_LN,
            HAS_BN,
            PARTS,
        )
        scale, slope, shift = gathered(scale), gathered(slope), gathered(shift)
        centre, first = gathered(mean_in), gathered(first)
        offset = sample + channels * channel_stride
        start, stop = part_of(M, BLOCK_M)
        for begin in range(start, stop, BLOCK_M):
            m = begin + tl.arange(0, BLOCK_M)
            inside = in_c[:, None] & (m < stop)[None, :]
            places = offset[:, None] + m[None, :] * position_stride
            g = tl.load(grad + places, mask=inside, other=0.0).to(tl.float32)
            value = tl.load(x + places, mask=inside, other=0.0).to(tl.float32)
            value = slope * ((value - first) - centre) + (scale * g + shift)
            tl.store(result + places, value, mask=inside)
