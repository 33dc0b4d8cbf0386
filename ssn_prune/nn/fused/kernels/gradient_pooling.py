"""The (N, C) part of the backward pass.

T, H and the other symbols are those of :mod:`ssn_prune.nn.functional`. One launch pools the
gradients of the mixed mean and variance into one float64 tensor, ``sums``. The next launch passes
them on to the planes, computing what it needs in place, and to the gates:

=================== ============================================================================
(2, N)              means over the channels, for LN: the part that each plane gets
(2, G, C)           means over the samples of a group, for BN; sums if processes share it
(programs, 2, 3)    what each program adds to the gradients of the ratios
=================== ============================================================================
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssn_prune.nn.fused.kernels.mixture import (
    batch_statistics,
    bessel,
    layer_statistics,
    mixture,
)


@triton.jit
def parts_of(sums, N, C, groups):
    """Where the three parts are."""
    batch_gradient = sums + 2 * N
    return sums, batch_gradient, batch_gradient + 2 * groups * C


@triton.jit
def _summed(scratch, plane, planes, PARTS: tl.constexpr):
    """The reference, T and H of planes that were reduced in parts."""
    reference = tl.load(scratch + 2 * PARTS * planes + plane).to(tl.float64)
    total = tl.load(scratch + plane).to(tl.float64)
    with_x = tl.load(scratch + planes + plane).to(tl.float64)
    for part in tl.static_range(1, PARTS):
        total += tl.load(scratch + (2 * part) * planes + plane).to(tl.float64)
        with_x += tl.load(scratch + (2 * part + 1) * planes + plane).to(tl.float64)
    return reference, total, with_x


@triton.jit
def _mixed_gradients(
    scratch,
    moments,
    pooled,
    weight,
    n,
    c,
    group,
    N,
    C,
    M,
    groups,
    EPS: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    HAS_IN: tl.constexpr,
    HAS_LN: tl.constexpr,
    HAS_BN: tl.constexpr,
    PARTS: tl.constexpr,
):
    """IN's mean and variance, T, and the gradients of weight, mixed mean and mixed variance."""
    plane = n * C + c
    reference, total, with_x = _summed(scratch, plane, N * C, PARTS)
    mean_in, var_in, mean, var = mixture(
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
    rstd = tl.rsqrt(var + EPS)
    scale = rstd
    if weight is not None:
        scale = scale * tl.load(weight + c).to(tl.float64)
    # H was summed about the mean rounded to float32.
    deviation = ((mean_in.to(tl.float32).to(tl.float64) - mean) * total + with_x) * rstd
    to_mean = -scale * total
    to_var = deviation * (scale * rstd * -0.5)
    return reference + mean_in, var_in, total, deviation, to_mean, to_var


@triton.jit(do_not_specialize=["N", "groups"])
def pool_gradients(
    scratch,
    moments,
    pooled,
    sums,
    weight,
    weight_gradient,
    bias_gradient,
    N,
    C,
    M,
    groups,
    EPS: tl.constexpr,
    OWN_COUNT: tl.constexpr,
    SHARED: tl.constexpr,
    HAS_IN: tl.constexpr,
    HAS_LN: tl.constexpr,
    HAS_BN: tl.constexpr,
    PARTS: tl.constexpr,
    BATCH_ROWS: tl.constexpr,
    BATCH_COLUMNS: tl.constexpr,
    LAYER_ROWS: tl.constexpr,
    LAYER_COLUMNS: tl.constexpr,
):
    """Pool the gradients of the mixed statistics; store those of weight, bias and, in part, ratios.

    Args:
        scratch: See :func:`ssn_prune.nn.fused.kernels.planes.gradient_sums`. Out: in its last two
            rows, the gradients of the mixed mean and variance, (2, N, C).
        sums: Out: see the module.
        weight_gradient: Out: (C,), or None.
        bias_gradient: Out: (C,), or None.
    """
    program = tl.program_id(0)
    channel_programs = tl.cdiv(C, BATCH_COLUMNS)
    planes = N * C
    size = N // groups
    mixed = scratch + (2 * PARTS + 1) * planes
    batch = batch_statistics(pooled, N)
    layer_gradient, batch_gradient, gate_sums = parts_of(sums, N, C, groups)
    in_mean = tl.load(pooled) * 0.0
    in_var, ln_mean, ln_var, bn_mean, bn_var = in_mean, in_mean, in_mean, in_mean, in_mean
    if program < channel_programs:
        c = program * BATCH_COLUMNS + tl.arange(0, BATCH_COLUMNS)
        in_c = c < C
        column = tl.minimum(c, C - 1)
        for_weight = tl.zeros((BATCH_ROWS, BATCH_COLUMNS), tl.float64)
        for_bias = tl.zeros((BATCH_ROWS, BATCH_COLUMNS), tl.float64)
        by_mean = tl.zeros((BATCH_ROWS, BATCH_COLUMNS), tl.float64)
        by_var = tl.zeros((BATCH_ROWS, BATCH_COLUMNS), tl.float64)
        for group in range(groups):
            pooled_mean = tl.zeros((BATCH_ROWS, BATCH_COLUMNS), tl.float64)
            pooled_var = tl.zeros((BATCH_ROWS, BATCH_COLUMNS), tl.float64)
            for begin in range(0, size, BATCH_ROWS):
                row = begin + tl.arange(0, BATCH_ROWS)
                inside = (row < size)[:, None] & in_c[None, :]
                n = (group * size + tl.minimum(row, size - 1))[:, None]
                mean_in, var_in, total, deviation, to_mean, to_var = _mixed_gradients(
                    scratch,
                    moments,
                    pooled,
                    weight,
                    n,
                    column[None, :],
                    group,
                    N,
                    C,
                    M,
                    groups,
                    EPS,
                    OWN_COUNT,
                    HAS_IN,
                    HAS_LN,
                    HAS_BN,
                    PARTS,
                )
                plane = n * C + column[None, :]
                tl.store(mixed + plane, to_mean.to(tl.float32), mask=inside)
                tl.store(mixed + planes + plane, to_var.to(tl.float32), mask=inside)
                for_weight += tl.where(inside, deviation, 0.0)
                for_bias += tl.where(inside, total, 0.0)
                pooled_mean += tl.where(inside, to_mean, 0.0)
                pooled_var += tl.where(inside, to_var, 0.0)
                by_mean += tl.where(inside, mean_in * to_mean, 0.0)
                by_var += tl.where(inside, var_in * to_var, 0.0)
            if HAS_BN:
                pooled_m = tl.sum(pooled_mean, axis=0)
                pooled_v = tl.sum(pooled_var, axis=0)
                here = group * C + column
                share = 1.0 / (tl.zeros((BATCH_COLUMNS,), tl.float64) + size)
                factor = share
                if OWN_COUNT:
                    factor = share * bessel(M / share)
                if SHARED:
                    share, factor = share * 0.0 + 1.0, share * 0.0 + 1.0
                tl.store(batch_gradient + here, pooled_m * share, mask=in_c)
                tl.store(batch_gradient + groups * C + here, pooled_v * factor, mask=in_c)
                moment = tl.load(batch + here)
                bn_mean += tl.sum(tl.where(in_c, moment * pooled_m, 0.0), axis=0)
                moment = tl.load(batch + groups * C + here)
                bn_var += tl.sum(tl.where(in_c, moment * pooled_v, 0.0), axis=0)
        in_mean = tl.sum(tl.sum(by_mean, axis=0), axis=0)
        in_var = tl.sum(tl.sum(by_var, axis=0), axis=0)
        if weight_gradient is not None:
            value = tl.sum(for_weight, axis=0)
            tl.store(
                weight_gradient + c,
                value.to(tl.float32).to(weight_gradient.dtype.element_ty),
                mask=in_c,
            )
        if bias_gradient is not None:
            value = tl.sum(for_bias, axis=0)
            tl.store(
                bias_gradient + c,
                value.to(tl.float32).to(bias_gradient.dtype.element_ty),
                mask=in_c,
            )
    else:
        if HAS_LN:
            n = (program - channel_programs) * LAYER_ROWS + tl.arange(0, LAYER_ROWS)
            row = tl.minimum(n, N - 1)
            layer_mean = tl.zeros((LAYER_ROWS, LAYER_COLUMNS), tl.float64)
            layer_var = tl.zeros((LAYER_ROWS, LAYER_COLUMNS), tl.float64)
            for begin in range(0, C, LAYER_COLUMNS):
                column = begin + tl.arange(0, LAYER_COLUMNS)
                inside = (n < N)[:, None] & (column < C)[None, :]
                _, _, _, _, to_mean, to_var = _mixed_gradients(
                    scratch,
                    moments,
                    pooled,
                    weight,
                    row[:, None],
                    tl.minimum(column, C - 1)[None, :],
                    (row // size)[:, None],
                    N,
                    C,
                    M,
                    groups,
                    EPS,
                    OWN_COUNT,
                    HAS_IN,
                    HAS_LN,
                    HAS_BN,
                    PARTS,
                )
                layer_mean += tl.where(inside, to_mean, 0.0)
                layer_var += tl.where(inside, to_var, 0.0)
            pooled_m = tl.sum(layer_mean, axis=1)
            pooled_v = tl.sum(layer_var, axis=1)
            share = 1.0 / (tl.zeros((LAYER_ROWS,), tl.float64) + C)
            factor = share
            if OWN_COUNT:
                factor = share * bessel(M / share)
            tl.store(layer_gradient + n, pooled_m * share, mask=n < N)
            tl.store(layer_gradient + N + n, pooled_v * factor, mask=n < N)
            layer = layer_statistics(pooled) + row
            moment = tl.load(layer)
            ln_mean = tl.sum(tl.where(n < N, moment * pooled_m, 0.0), axis=0)
            moment = tl.load(layer + N)
            ln_var = tl.sum(tl.where(n < N, moment * pooled_v, 0.0), axis=0)
    out = gate_sums + 6 * program
    tl.store(out, in_mean)
    tl.store(out + 1, ln_mean)
    tl.store(out + 2, bn_mean)
    tl.store(out + 3, in_var)
    tl.store(out + 4, ln_var)
    tl.store(out + 5, bn_var)
