"""SparsestMax of one gate in plain Python numbers, for the few gates of one layer on the CPU.

The closed form of :mod:`ssn_prune.nn.sparsestmax` takes some eighty tensor operators, which is
nothing for the gates of a whole network and 1.5 ms for the three logits of one. This is the same
closed form for one gate, without tensors, in a fiftieth of the time. Tests compare the two. Nothing
here imports torch: ``inspect`` must not wait for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# r >= r_c (1 - VERTEX_MARGIN) gives an exact vertex: a schedule whose last step misses
# r_c by rounding would otherwise leave max - min below 1 for ever and no gate would freeze.
VERTEX_MARGIN = 1e-6
_SLACK = 1e-15  # entries at rounding distance below zero count as zero


def vertex_radius(num_choices: int) -> float:
    """The radius r_c = sqrt((K-1)/K) at which only the vertices of the simplex are left."""
    return math.sqrt((num_choices - 1) / num_choices)


def is_vertex(ratios: list[float]) -> bool:
    """Whether exactly one ratio is 1 and all others are 0."""
    return sorted(ratios) == [0.0] * (len(ratios) - 1) + [1.0]


@dataclass(frozen=True, slots=True)
class GateSolution:
    """One gate and its Jacobian gain (I - n n^T)(I - 1 1^T / m) on its support.

    Attributes:
        ratios: p.
        support: Indices that carry gradient; m of them.
        direction: n, in the order of ``support``; empty for sparsemax's Jacobian.
        gain: r_m / ||c||, 1 for sparsemax's Jacobian, 0 at a vertex.
    """

    ratios: list[float]
    support: list[int]
    direction: list[float]
    gain: float

    def vector_jacobian(self, gradient: list[float]) -> list[float]:
        """The gradient of the logits, given that of the ratios."""
        if self.gain == 0:  # even where the gradient is not finite
            return [0.0] * len(gradient)
        inside = [gradient[i] for i in self.support]
        mean = sum(inside) / len(inside)
        direction = self.direction or [0.0] * len(inside)
        along = 0.0
        for n, g in zip(direction, inside, strict=True):
            along += n * (g - mean)
        result = [0.0] * len(gradient)
        for i, n, g in zip(self.support, direction, inside, strict=True):
            result[i] = self.gain * (g - mean - along * n)
        return result


def frozen_gate(ratios: list[float]) -> GateSolution:
    """A frozen gate: it does not depend on its logits."""
    return GateSolution(ratios, list(range(len(ratios))), [], 0.0)


def softmax_gate(logits: list[float]) -> SoftmaxGate:
    """The softmax of K logits."""
    largest = max(logits)
    powers = [math.exp(z - largest) for z in logits]
    total = sum(powers)
    return SoftmaxGate([power / total for power in powers])


@dataclass(frozen=True)
class SoftmaxGate:
    """A softmax gate.

    Attributes:
        ratios: p.
    """

    ratios: list[float]

    def vector_jacobian(self, gradient: list[float]) -> list[float]:
        """The gradient of the logits, given that of the ratios."""
        mean = sum(p * g for p, g in zip(self.ratios, gradient, strict=True))
        return [p * (g - mean) for p, g in zip(self.ratios, gradient, strict=True)]


def solve_gate(logits: list[float], radius: float) -> GateSolution:
    """SparsestMax(logits; radius); the definition is in :mod:`ssn_prune.nn.sparsestmax`.

    Args:
        logits: K logits.
        radius: At least 0; values above the vertex radius act as the vertex radius.
    """
    k = len(logits)
    # Infinities are subtracted below, as in the tensor form, so they end as NaN too.
    if not math.isfinite(sum(logits)) and (any(map(math.isnan, logits)) or max(logits) == math.inf):
        return GateSolution([math.nan] * k, list(range(k)), [], 1.0)
    order = sorted(range(k), key=logits.__getitem__, reverse=True)  # stable: lowest index first
    top = logits[order[0]]
    s = [logits[i] - top for i in order]
    largest = vertex_radius(k)
    radius = min(radius, largest)

    tau, size0, total = 0.0, 1, 0.0
    for m, value in enumerate(s, start=1):
        total += value
        if 1 + m * value > total:
            tau, size0 = (total - 1) / m, m
    distance = 0.0
    p0 = [0.0] * k
    for i, value in zip(order, s, strict=True):
        p = value - tau if value > tau else 0.0
        p0[i] = p
        distance += (p - 1 / k) ** 2
    at_vertex = radius >= largest * (1 - VERTEX_MARGIN)
    if distance >= radius * radius and not at_vertex:
        return GateSolution(p0, order[:size0], [], 1.0)

    p_sorted, size, direction, gain = _on_sphere(s, radius)
    if at_vertex:
        p_sorted, gain = [1.0] + [0.0] * (k - 1), 0.0
    ratios = [0.0] * k
    for i, p in zip(order, p_sorted, strict=True):
        ratios[i] = p
    if s[size - 1] == 0:  # an exact tie: sparsemax's Jacobian, so that tied gates can separate
        return GateSolution(ratios, [i for i in order if p0[i] > 0], [], 1.0)
    return GateSolution(ratios, order[:size], direction, gain)


def _on_sphere(s: list[float], radius: float) -> tuple[list[float], int, list[float], float]:
    """The largest face whose point at this radius is non-negative; ``s`` is sorted, s[0] = 0."""
    for m in range(len(s), 1, -1):
        # A tied face has no direction of its own: go towards its lowest index.
        w = s[:m] if s[m - 1] else [1.0] + [0.0] * (m - 1)
        mean = sum(w) / m
        c = [value - mean for value in w]
        length = math.hypot(*c)  # does not underflow
        r_m = math.sqrt(max(radius * radius - (1 / m - 1 / len(s)), 0.0))
        if m == 2 or 1 / m + r_m / length * c[-1] >= -_SLACK:
            n = [value / length for value in c]
            p = [max(1 / m + r_m * value, 0.0) for value in n]
            gain = r_m / length if s[m - 1] else 1.0
            return p + [0.0] * (len(s) - m), m, n, gain
    return [1.0], 1, [], 0.0  # a single choice
