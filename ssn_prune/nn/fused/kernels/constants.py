"""The constants of each plane, stored for a compiler that applies them itself.

A compiler fuses scale and shift with the activation function and the residual that follow, so only
the reductions and the (N, C) part are launched for it. One value per plane costs little there.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssn_prune.nn.fused.kernels.input_gradient import finish_gates, passed_on
from ssn_prune.nn.fused.kernels.mixture import mixture


@triton.jit(do_not_specialize=["N", "groups"])
def plane_constants(
    scratch,
    moments,
    pooled,
    weight,
    constants,
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
    BLOCK: tl.constexpr,
):
    """Reference, shift and scale: y = ((x - reference) - shift) * scale + bias.

    Args:
        scratch: See :func:`ssn_prune.nn.fused.kernels.planes.plane_moments`.
        moments: See :func:`ssn_prune.nn.fused.kernels.mixture.mixture`, also for ``pooled``.
        constants: Out: (3, N, C) float32.
    """
    planes = N * C
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane = tl.minimum(index, planes - 1)
    n, c = plane // C, plane % C
    reference = tl.load(scratch + 2 * PARTS * planes + plane)
    _in, _var, mean, var = mixture(
        moments,
        pooled,
        reference,
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
    inside = index < planes
    tl.store(constants + index, reference.to(tl.float32), mask=inside)
    tl.store(constants + planes + index, mean.to(tl.float32), mask=inside)
    tl.store(constants + 2 * planes + index, scale.to(tl.float32), mask=inside)


@triton.jit(do_not_specialize=["N", "groups", "programs"])
def gradient_constants(
    scratch,
    moments,
    pooled,
    sums,
    weight,
    slopes,
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
    BLOCK_P: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Slope and shift: the gradient of x is scale * g + slope * (x - mean_in) + shift.

    Args:
        scratch: See :func:`ssn_prune.nn.fused.kernels.gradient_pooling.pool_gradients`.
        slopes: Out: (2, N, C) float32.
        mean_gradient: Out: the gradient of the mean gate's logits, (K,).
        var_gradient: Out: that of the variance gate's.
        programs: Number of programs of ``pool_gradients``.
    """
    if tl.program_id(0) == 0:
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
    planes = N * C
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane = tl.minimum(index, planes - 1)
    _mean, _scale, slope, shift = passed_on(
        scratch,
        moments,
        pooled,
        sums,
        weight,
        tl.load(scratch + 2 * PARTS * planes + plane).to(tl.float64),
        plane // C,
        plane % C,
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
    inside = index < planes
    tl.store(slopes + index, slope.to(tl.float32), mask=inside)
    tl.store(slopes + planes + index, shift.to(tl.float32), mask=inside)
