"""From plane moments to the statistics of LN and BN, both gates and the running statistics.

One launch: some programs pool channels over the samples (BN), some pool samples over the channels
(LN), and the last solves the gates. Shifted float64 sums give the law of total variance
(:mod:`ssn_prune.nn.statistics`) in one pass.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssn_prune.nn.fused.kernels.gates import solve_gate
from ssn_prune.nn.fused.kernels.mixture import (
    batch_statistics,
    bessel,
    layer_statistics,
    not_negative,
)


@triton.jit
def _merged(scratch, plane, planes, M, PARTS: tl.constexpr, BLOCK_M: tl.constexpr):
    """Mean, the same relative to the reference, and biased variance of planes reduced in parts."""
    reference = tl.load(scratch + 2 * PARTS * planes + plane).to(tl.float64)
    if PARTS == 1:
        mean = tl.load(scratch + plane).to(tl.float64)
        var = tl.load(scratch + planes + plane).to(tl.float64) / M
    else:
        chunk = tl.cdiv(tl.cdiv(M, BLOCK_M), PARTS) * BLOCK_M
        total = reference * 0.0
        squares, within = total, total
        for part in tl.static_range(PARTS):
            count = tl.maximum(tl.minimum(chunk, M - part * chunk), 0)
            mean = tl.load(scratch + (2 * part) * planes + plane).to(tl.float64)
            within += tl.load(scratch + (2 * part + 1) * planes + plane).to(tl.float64)
            total += mean * count
            squares += mean * mean * count
        mean = total / M
        # Relative to the reference, and in float64: nothing that matters cancels.
        var = not_negative((within + (squares - total * mean)) / M)
    return reference + mean, mean, var


@triton.jit
def _pool_batch(
    scratch,
    moments,
    batch,
    running_mean,
    running_var,
    tracked,
    c,
    in_c,
    N,
    C,
    M,
    groups,
    momentum,
    AVERAGES: tl.constexpr,
    FROM_PLANES: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    SHARED: tl.constexpr,
    HAS_BN: tl.constexpr,
    TRACKS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Store the moments of the planes of some channels, and the BN statistics pooled from them."""
    planes = N * C
    size = N // groups
    column = tl.minimum(c, C - 1)
    new_mean = tl.zeros((COLUMNS,), tl.float64)
    new_var = tl.zeros((COLUMNS,), tl.float64)
    for group in range(groups):
        sums = tl.zeros((ROWS, COLUMNS), tl.float64)
        squares = tl.zeros((ROWS, COLUMNS), tl.float64)
        within = tl.zeros((ROWS, COLUMNS), tl.float64)
        first = group * size * C + column
        origin, _mean, _var = _merged(scratch, first, planes, M, PARTS, BLOCK_M)
        for begin in range(0, size, ROWS):
            row = begin + tl.arange(0, ROWS)
            inside = (row < size)[:, None] & in_c[None, :]
            n = group * size + tl.minimum(row, size - 1)
            plane = n[:, None] * C + column[None, :]
            absolute, relative, var = _merged(scratch, plane, planes, M, PARTS, BLOCK_M)
            if FROM_PLANES:
                var = var * bessel(absolute * 0.0 + M)
            tl.store(moments + plane, relative, mask=inside)
            tl.store(moments + planes + plane, var, mask=inside)
            if HAS_BN:
                moved = absolute - origin[None, :]
                sums += tl.where(inside, moved, 0.0)
                squares += tl.where(inside, moved * moved, 0.0)
                within += tl.where(inside, var, 0.0)
        if HAS_BN:
            mean = tl.sum(sums, axis=0) / size
            var = tl.sum(within, axis=0) / size
            var += not_negative(tl.sum(squares, axis=0) / size - mean * mean)
            mean += origin
            if OWN_COUNT and not SHARED:
                var = var * bessel((mean * 0.0 + M) * size)
            tl.store(batch + group * C + c, mean, mask=in_c)
            tl.store(batch + (groups + group) * C + c, var, mask=in_c)
            new_mean += mean
            new_var += var
    if HAS_BN and TRACKS:
        share = tl.zeros((COLUMNS,), tl.float64) + momentum
        if AVERAGES:  # this batch has been counted
            share = 1.0 / (share * 0.0 + tl.load(tracked))
        old = tl.load(running_mean + column).to(tl.float64)
        new = old + share * (new_mean / groups - old)
        tl.store(running_mean + c, new.to(tl.float32).to(running_mean.dtype.element_ty), mask=in_c)
        old = tl.load(running_var + column).to(tl.float64)
        new = old + share * (new_var / groups - old)
        tl.store(running_var + c, new.to(tl.float32).to(running_var.dtype.element_ty), mask=in_c)


@triton.jit
def _pool_layer(
    scratch,
    layer,
    n,
    N,
    C,
    M,
    FROM_PLANES: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Store the LN statistics of some samples, pooled from their planes."""
    planes = N * C
    row = tl.minimum(n, N - 1)
    sums = tl.zeros((ROWS, COLUMNS), tl.float64)
    squares = tl.zeros((ROWS, COLUMNS), tl.float64)
    within = tl.zeros((ROWS, COLUMNS), tl.float64)
    origin, _mean, _var = _merged(scratch, row * C, planes, M, PARTS, BLOCK_M)
    for begin in range(0, C, COLUMNS):
        column = begin + tl.arange(0, COLUMNS)
        inside = (n < N)[:, None] & (column < C)[None, :]
        plane = row[:, None] * C + tl.minimum(column, C - 1)[None, :]
        absolute, _relative, var = _merged(scratch, plane, planes, M, PARTS, BLOCK_M)
        moved = absolute - origin[:, None]
        sums += tl.where(inside, moved, 0.0)
        squares += tl.where(inside, moved * moved, 0.0)
        within += tl.where(inside, var, 0.0)
    mean = tl.sum(sums, axis=1) / C
    inner = tl.sum(within, axis=1) / C
    if FROM_PLANES:
        inner = inner * bessel(mean * 0.0 + M)
    var = inner + not_negative(tl.sum(squares, axis=1) / C - mean * mean)
    if OWN_COUNT:
        var = var * bessel((mean * 0.0 + M) * C)
    tl.store(layer + n, mean + origin, mask=n < N)
    tl.store(layer + N + n, var, mask=n < N)


@triton.jit(do_not_specialize=["N", "groups"])
def pool(
    scratch,
    moments,
    pooled,
    mean_logits,
    var_logits,
    radius,
    mean_fixed,
    var_fixed,
    frozen,
    running_mean,
    running_var,
    tracked,
    N,
    C,
    M,
    groups,
    momentum,
    AVERAGES: tl.constexpr,
    FROM_PLANES: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    SHARED: tl.constexpr,
    HAS_LN: tl.constexpr,
    HAS_BN: tl.constexpr,
    TRACKS: tl.constexpr,
    GATE: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    K: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BATCH_ROWS: tl.constexpr,
    BATCH_COLUMNS: tl.constexpr,
    LAYER_ROWS: tl.constexpr,
    LAYER_COLUMNS: tl.constexpr,
):
    """Pool the moments, solve the gates, and update the running statistics.

    Args:
        scratch: See :func:`ssn_prune.nn.fused.kernels.planes.plane_moments`.
        moments: Out: plane means relative to the reference, and variances, (2, N, C) float64.
        pooled: Out: see :mod:`ssn_prune.nn.fused.kernels.mixture`.
        tracked: Batches so far, this one included if AVERAGES; else it is counted here.
        momentum: torch's convention; no compile-time constant, as schedules may change it.
        AVERAGES: Whether the running statistics are the plain average of all batches.
        SHARED: Whether BN's statistics are shared among processes, for which they stay biased.
    """
    program = tl.program_id(0)
    channel_programs = tl.cdiv(C, BATCH_COLUMNS)
    last = tl.num_programs(0) - 1
    if program < channel_programs:
        c = program * BATCH_COLUMNS + tl.arange(0, BATCH_COLUMNS)
        _pool_batch(
            scratch,
            moments,
            batch_statistics(pooled, N),
            running_mean,
            running_var,
            tracked,
            c,
            c < C,
            N,
            C,
            M,
            groups,
            momentum,
            AVERAGES,
            FROM_PLANES,
            OWN_COUNT,
            SHARED,
            HAS_BN,
            TRACKS,
            PARTS,
            BLOCK_M,
            BATCH_ROWS,
            BATCH_COLUMNS,
        )
    elif program < last:
        if HAS_LN:
            n = (program - channel_programs) * LAYER_ROWS + tl.arange(0, LAYER_ROWS)
            _pool_layer(
                scratch,
                layer_statistics(pooled),
                n,
                N,
                C,
                M,
                FROM_PLANES,
                OWN_COUNT,
                PARTS,
                BLOCK_M,
                LAYER_ROWS,
                LAYER_COLUMNS,
            )
    else:
        solve_gate(pooled, mean_logits, radius, mean_fixed, frozen, 0, GATE, FIRST, SECOND, K)
        solve_gate(pooled + 12, var_logits, radius, var_fixed, frozen, 1, GATE, FIRST, SECOND, K)
        if TRACKS and not AVERAGES:
            tl.store(tracked, tl.load(tracked) + 1)
