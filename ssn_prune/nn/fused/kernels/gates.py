"""Both gates of a layer on the device, in closed form: one program solves them.

The formulas are those of :mod:`ssn_prune.nn.sparsestmax`. A layer has two or three choices, so the
sorted logits, the faces of the simplex and the Jacobian are scalars; all are float64. Twelve
numbers are stored per gate: its ratios by normalizer (IN, LN, BN), then its Jacobian, 3 x 3 in the
order of the logits.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _pick(rank, first, second, third):
    """The entry of that rank."""
    return tl.where(rank == 0, first, tl.where(rank == 1, second, third))


@triton.jit
def _sparsestmax(z0, z1, z2, radius, K: tl.constexpr):
    """SparsestMax of K = 2 or 3 logits; with K = 2 the third must be below the others.

    Returns:
        The ratios; the mask of the support that carries gradient; the unit direction; and the gain
        of the Jacobian gain (I - n n^T)(I - 1 1^T / m).
    """
    # Ranks; the lowest index wins every tie.
    r0 = (z1 > z0).to(tl.int32) + (z2 > z0).to(tl.int32)
    r1 = (z0 >= z1).to(tl.int32) + (z2 > z1).to(tl.int32)
    r2 = (z0 >= z2).to(tl.int32) + (z1 >= z2).to(tl.int32)
    top = tl.where(r0 == 0, z0, tl.where(r1 == 0, z1, z2))
    s1 = tl.where(r0 == 1, z0, tl.where(r1 == 1, z1, z2)) - top
    s2 = tl.where(r0 == 2, z0, tl.where(r1 == 2, z1, z2)) - top

    # Sparsemax: the support is the largest m with 1 + m s_m > sum of the m.
    tau = top * 0.0 - 1.0
    tau = tl.where(1.0 + 2.0 * s1 > s1, (s1 - 1.0) / 2.0, tau)
    if K == 3:
        tau = tl.where(1.0 + 3.0 * s2 > s1 + s2, (s1 + s2 - 1.0) / 3.0, tau)
    a0 = -tau
    a1 = tl.maximum(s1 - tau, 0.0)
    a2 = tl.maximum(s2 - tau, 0.0)
    if K == 2:
        a2 = a2 * 0.0
    centre = (top * 0.0 + 1.0) / K
    distance = (a0 - centre) * (a0 - centre) + (a1 - centre) * (a1 - centre)
    if K == 3:
        distance += (a2 - centre) * (a2 - centre)

    largest = tl.sqrt((top * 0.0 + (K - 1)) / K)
    at_vertex = radius >= largest * (1.0 - 1e-6)
    radius = tl.minimum(radius, largest)
    feasible = (distance >= radius * radius) & (at_vertex == 0)

    # The face of the two largest, whose point is never negative.
    half = tl.sqrt(top * 0.0 + 0.5)
    n0, n1, n2 = half, -half, top * 0.0
    rest = tl.sqrt(tl.maximum(radius * radius - (0.5 - centre), 0.0))
    p0, p1, p2 = 0.5 + rest * n0, tl.maximum(0.5 + rest * n1, 0.0), top * 0.0
    tied = s1 == 0.0
    gain = tl.where(tied, 1.0, rest / tl.where(tied, 1.0, -s1 * half))
    m2 = top * 0.0
    if K == 3:
        # All three, if no entry is negative.
        none = s2 == 0.0
        span = tl.where(none, 1.0, -s2)
        w0, w1, w2 = tl.where(none, 1.0, 0.0), s1 / span, tl.where(none, 0.0, s2 / span)
        mean = (w0 + w1 + w2) / 3.0
        c0, c1, c2 = w0 - mean, w1 - mean, w2 - mean
        length = tl.sqrt(c0 * c0 + c1 * c1 + c2 * c2)
        whole = 1.0 / 3.0 + radius / length * c2 >= -1e-15
        n0 = tl.where(whole, c0 / length, n0)
        n1 = tl.where(whole, c1 / length, n1)
        n2 = tl.where(whole, c2 / length, n2)
        p0 = tl.where(whole, centre + radius * n0, p0)
        p1 = tl.where(whole, tl.maximum(centre + radius * n1, 0.0), p1)
        p2 = tl.where(whole, tl.maximum(centre + radius * n2, 0.0), p2)
        gain = tl.where(whole, tl.where(none, 1.0, radius / (length * span)), gain)
        tied = tl.where(whole, none, tied)
        m2 = tl.where(whole, 1.0, 0.0)
    m0, m1 = top * 0.0 + 1.0, top * 0.0 + 1.0

    # Sparsemax's Jacobian, also at an exact tie, so that tied gates can separate.
    like_sparsemax = feasible | tied
    m1 = tl.where(like_sparsemax, (a1 > 0.0).to(tl.float64), m1)
    m2 = tl.where(like_sparsemax, (a2 > 0.0).to(tl.float64), m2)
    n0 = tl.where(like_sparsemax, 0.0, n0)
    n1 = tl.where(like_sparsemax, 0.0, n1)
    n2 = tl.where(like_sparsemax, 0.0, n2)
    gain = tl.where(like_sparsemax, 1.0, tl.where(at_vertex, 0.0, gain))
    p0 = tl.where(at_vertex, 1.0, tl.where(feasible, a0, p0))
    p1 = tl.where(at_vertex, 0.0, tl.where(feasible, a1, p1))
    p2 = tl.where(at_vertex, 0.0, tl.where(feasible, a2, p2))
    # NaN if a logit is, or if the largest is infinite; else 0.
    undefined = tl.where((z0 != z0) | (z1 != z1) | (z2 != z2), float("nan"), top - top)
    p0, p1, p2 = p0 + undefined, p1 + undefined, p2 + undefined
    return (
        _pick(r0, p0, p1, p2),
        _pick(r1, p0, p1, p2),
        _pick(r2, p0, p1, p2),
        _pick(r0, m0, m1, m2),
        _pick(r1, m0, m1, m2),
        _pick(r2, m0, m1, m2),
        _pick(r0, n0, n1, n2),
        _pick(r1, n0, n1, n2),
        _pick(r2, n0, n1, n2),
        gain,
    )


@triton.jit
def _softmax(z0, z1, z2, K: tl.constexpr):
    """The softmax of K = 2 or 3 logits."""
    top = tl.maximum(z0, z1)
    if K == 3:
        top = tl.maximum(top, z2)
    e0, e1, e2 = tl.exp(z0 - top), tl.exp(z1 - top), top * 0.0
    if K == 3:
        e2 = tl.exp(z2 - top)
    total = e0 + e1 + e2
    return e0 / total, e1 / total, e2 / total


@triton.jit
def _store_ratios(out, p0, p1, p2, FIRST: tl.constexpr, SECOND: tl.constexpr, K: tl.constexpr):
    """Store the ratios by normalizer; those of normalizers that are not offered are zero."""
    for slot in tl.static_range(3):
        tl.store(out + slot, p0 * 0.0)
    tl.store(out + FIRST, p0)
    if K > 1:
        tl.store(out + SECOND, p1)
    if K > 2:
        tl.store(out + 2, p2)


@triton.jit
def _jacobian_entry(gain, size, m_i, m_j, n_i, n_j, same):
    return gain * (m_i * same - m_i * m_j / size - n_i * n_j)


@triton.jit
def solve_gate(
    out,
    logits,
    radius,
    fixed,
    frozen,
    ROW: tl.constexpr,
    GATE: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    K: tl.constexpr,
):
    """Store the ratios of one gate by normalizer, and its Jacobian.

    Args:
        out: Twelve float64.
        logits: K of them; the ratios themselves if GATE is "given".
        radius: One number; SparsestMax only, as are the next two.
        fixed: Not 0 if the gate is frozen.
        frozen: (2, K); row ROW has the K ratios of a frozen gate, or zeros if only the logits have
            them.
        GATE: "sparsestmax", "softmax" or "given".
        FIRST: The normalizer of the first logit: 0 IN, 1 LN, 2 BN.
        SECOND: That of the second; the third is BN.
        K: The number of choices.
    """
    z0 = tl.load(logits).to(tl.float64)
    z1 = z0 - 1.0
    z2 = z0 - 1.0
    if K > 1:
        z1 = tl.load(logits + 1).to(tl.float64)
        z2 = tl.minimum(z0, z1) - 1.0
    if K > 2:
        z2 = tl.load(logits + 2).to(tl.float64)
    if GATE == "given":
        _store_ratios(out, z0, z1, z2, FIRST, SECOND, K)
    elif GATE == "softmax":
        p0, p1, p2 = _softmax(z0, z1, z2, K)
        _store_ratios(out, p0, p1, p2, FIRST, SECOND, K)
        jacobian = out + 3
        tl.store(jacobian + 0, p0 * (1.0 - p0))
        tl.store(jacobian + 1, -p0 * p1)
        tl.store(jacobian + 2, -p0 * p2)
        tl.store(jacobian + 3, -p0 * p1)
        tl.store(jacobian + 4, p1 * (1.0 - p1))
        tl.store(jacobian + 5, -p1 * p2)
        tl.store(jacobian + 6, -p0 * p2)
        tl.store(jacobian + 7, -p1 * p2)
        tl.store(jacobian + 8, p2 * (1.0 - p2))
    else:
        r = tl.load(radius).to(tl.float64)
        p0, p1, p2, m0, m1, m2, n0, n1, n2, gain = _sparsestmax(z0, z1, z2, r, K)
        # A frozen gate is what was stored for it; its weights may have been changed since.
        is_fixed = tl.load(fixed) != 0
        f0 = tl.load(frozen + ROW * K).to(tl.float64)
        f1 = tl.load(frozen + ROW * K + 1).to(tl.float64)
        f2 = z0 * 0.0
        ones = (z0 == 1.0).to(tl.int32) + (z1 == 1.0).to(tl.int32)
        zeros = (z0 == 0.0).to(tl.int32) + (z1 == 0.0).to(tl.int32)
        h2 = z0 * 0.0
        if K == 3:
            f2 = tl.load(frozen + ROW * K + 2).to(tl.float64)
            h2 = z2
            ones += (z2 == 1.0).to(tl.int32)
            zeros += (z2 == 0.0).to(tl.int32)
        one_hot = (ones == 1) & (zeros == K - 1)
        known = ((f0 != 0.0) | (f1 != 0.0) | (f2 != 0.0)) & (one_hot == 0)
        p0 = tl.where(is_fixed, tl.where(known, f0, z0), p0)
        p1 = tl.where(is_fixed, tl.where(known, f1, z1), p1)
        p2 = tl.where(is_fixed, tl.where(known, f2, h2), p2)
        gain = tl.where(is_fixed, 0.0, gain)
        _store_ratios(out, p0, p1, p2, FIRST, SECOND, K)
        size = m0 + m1 + m2
        jacobian = out + 3
        j01 = _jacobian_entry(gain, size, m0, m1, n0, n1, 0.0)
        j02 = _jacobian_entry(gain, size, m0, m2, n0, n2, 0.0)
        j12 = _jacobian_entry(gain, size, m1, m2, n1, n2, 0.0)
        tl.store(jacobian + 0, _jacobian_entry(gain, size, m0, m0, n0, n0, 1.0))
        tl.store(jacobian + 1, j01)
        tl.store(jacobian + 2, j02)
        tl.store(jacobian + 3, j01)
        tl.store(jacobian + 4, _jacobian_entry(gain, size, m1, m1, n1, n1, 1.0))
        tl.store(jacobian + 5, j12)
        tl.store(jacobian + 6, j02)
        tl.store(jacobian + 7, j12)
        tl.store(jacobian + 8, _jacobian_entry(gain, size, m2, m2, n2, n2, 1.0))


@triton.jit
def _of_normalizer(for_in, for_ln, for_bn, NORMALIZER: tl.constexpr):
    value = for_in
    if NORMALIZER == 1:
        value = for_ln
    if NORMALIZER == 2:
        value = for_bn
    return value


@triton.jit
def pull_back(
    out,
    gate,
    for_in,
    for_ln,
    for_bn,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    K: tl.constexpr,
):
    """Store the gradient of one gate's K logits, given those of its ratios."""
    g0 = _of_normalizer(for_in, for_ln, for_bn, FIRST)
    g1 = _of_normalizer(for_in, for_ln, for_bn, SECOND)
    for i in tl.static_range(K):
        row = gate + 3 + 3 * i
        j0, j1, j2 = tl.load(row), tl.load(row + 1), tl.load(row + 2)
        # A gate that cannot move has no gradient, even where that of its ratios is not finite.
        value = tl.where(j0 == 0.0, 0.0, j0 * g0)
        if K > 1:
            value += tl.where(j1 == 0.0, 0.0, j1 * g1)
        if K > 2:
            value += tl.where(j2 == 0.0, 0.0, j2 * for_bn)
        tl.store(out + i, value.to(tl.float32).to(out.dtype.element_ty))
