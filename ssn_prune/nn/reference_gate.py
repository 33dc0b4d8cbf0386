r"""The gate of the reference code in plain numbers; it is not always SparsestMax as defined.

The reference code (switchablenorms/Sparse_SwitchNorm) also starts from p = sparsemax(z). With S the
support of p, u the centre of S and r the radius, it goes on as follows:

- If p is at least r away from u, it is the result.
- Otherwise :math:`p' = u + r (p - u) / \|p - u\|`. If no entry is negative, that is the result.
- Otherwise it starts again with p' for z, u' the centre of the next support, and
  :math:`r'^2 = r^2 - \|u' - u\|^2`.

The definition measures the radius from the centre of the *simplex*, so the first round agrees with
it only where sparsemax keeps all entries; elsewhere the radius counts from the face that sparsemax
has reached. On exact ties, and next to a vertex, p - u is 0 or nothing but rounding errors: such
gates are NaN, or do not sum to 1 (:func:`on_simplex`).

A network that was trained with these gates gives its outputs only with them. They are therefore
reproduced bit by bit: every operation is rounded to float32, in the order of the reference code.
Nothing here imports torch: ``inspect`` must not wait for it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from ssn_prune.nn.single_gate import GateSolution, solve_gate

GateDefinition = Literal["paper", "reference"]

# The reference code never freezes a gate next to a vertex: in float32 the other entries may stay
# at up to 1e-7.
NEAR_VERTEX = 2.0**-20
_SUM_TOLERANCE = 1e-4  # the largest error of 2,078 gates of the reference code is 9e-6


def solved(
    logits: list[float], radius: float, definition: GateDefinition, *, float64: bool = False
) -> GateSolution:
    """One gate by either definition; the reference's has the gradient of the paper's.

    Args:
        logits: K logits.
        radius: At least 0.
        definition: Whose gate it is.
        float64: See :func:`reference_gate`.
    """
    gate = solve_gate(logits, radius)
    if definition == "paper":
        return gate
    return replace(gate, ratios=reference_gate(logits, radius, float64=float64))


def on_simplex(ratios: Sequence[float]) -> bool:
    """Whether ratios are at least 0 and sum to 1."""
    return min(ratios) >= 0 and abs(sum(ratios) - 1) <= _SUM_TOLERANCE


def reference_gate(logits: list[float], radius: float, *, float64: bool = False) -> list[float]:
    """The ratios that the reference code gives.

    Args:
        logits: K logits.
        radius: At least 0.
        float64: Compute as the code does when it runs in float64, to compare with such a run.
            Networks were trained in float32.

    Returns:
        K ratios; NaN where the reference code gives none.
    """
    rounded = float if float64 else _f32
    v, r = [rounded(z) for z in logits], radius  # the code's radius becomes a Python number
    outer: list[float] | None = None
    undefined = [math.nan] * len(v)
    for _ in range(len(v) + 2):  # each round but the last drops an entry
        w = _sparsemax(v, rounded)
        if not all(map(math.isfinite, w)) or not any(w):
            return undefined
        if rounded(max(w) - min(w)) == 1:
            return _settled(w)
        size = sum(x > 0 for x in w)
        centre = [rounded(1 / size) if x > 0 else 0.0 for x in w]
        if outer is not None:
            square = rounded(rounded(r * r) - _squared_distance(centre, outer, rounded))
            if not square >= 0:
                return undefined
            r = math.sqrt(square)
        away = [rounded(a - b) for a, b in zip(w, centre, strict=True)]
        distance = _norm(away, rounded)
        if distance >= rounded(r):
            return _settled(w)
        if distance == 0:
            return undefined
        along = [rounded(rounded(rounded(r) * a) / distance) for a in away]
        p = [rounded(a + b) for a, b in zip(along, centre, strict=True)]
        if min(p) >= 0:
            return _settled([min(x, 1.0) for x in p])
        v, outer = p, centre
    return undefined


def _settled(ratios: list[float]) -> list[float]:
    """The vertex, where the other entries are only rounding errors; else the ratios."""
    *others, largest = sorted(ratios)
    near = largest >= 1 - NEAR_VERTEX and max(others, default=0.0) <= NEAR_VERTEX
    return [float(x == largest) for x in ratios] if near else ratios


def _sparsemax(v: list[float], rounded: Callable[[float], float]) -> list[float]:
    """Sparsemax with rounded results; the running sum is kept in float64, as torch does."""
    total, tau = 0.0, math.nan
    for m, value in enumerate(sorted(v, reverse=True), start=1):
        total += value
        excess = rounded(rounded(total) - 1)
        if rounded(value - rounded(excess / m)) > 0:
            tau = rounded(excess / m)
    return [max(rounded(value - tau), 0.0) for value in v]


def _squared_distance(a: list[float], b: list[float], rounded: Callable[[float], float]) -> float:
    """The squared distance; every difference, square and sum is rounded."""
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total = rounded(total + rounded(rounded(x - y) ** 2))
    return total


def _norm(x: list[float], rounded: Callable[[float], float]) -> float:
    """The norm as torch computes it on the CPU: a square and its addition are rounded once."""
    total = 0.0
    for entry in x:
        total = rounded(total + entry * entry)
    return rounded(math.sqrt(total))


def _f32(value: float) -> float:
    """The nearest float32. Applied to +, -, *, / and sqrt it gives what float32 hardware does."""
    try:
        nearest: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return nearest
