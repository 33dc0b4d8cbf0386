"""The gates over the course of the training: the leading normalizer of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ssn_prune.reporting.figures import counted
from ssn_prune.reporting.run import Run


@dataclass(frozen=True)
class Trajectory:
    """One gate.

    Attributes:
        layer: Path of its layer.
        gate: ``"mean"`` or ``"var"``.
        leaders: The leading normalizer in each equal part of the training, as a letter.
        margins: How far it led there, 0 to 1.
        frozen: The first part from which on it was one-hot; None if it is not one-hot.
        since: The training step from which on it was one-hot; None if it is not.
        index: Its index in the document's history.
        points: Its ratios of IN and LN in each part, 0 to 1; empty if they are not known.
    """

    layer: str
    gate: str
    leaders: str
    margins: tuple[float, ...]
    frozen: int | None
    since: int | None
    index: int
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Trajectories:
    """All gates.

    Attributes:
        finding: The result in one sentence.
        gates: The gates in the network's order.
        radii: The radius of the circle that the gates stay outside of, in each part: the smallest
            distance of a gate to the centre. Empty if it is not known.
    """

    finding: str
    gates: tuple[Trajectory, ...]
    radii: tuple[float, ...] = ()


def trajectories_of(run: Run) -> Trajectories | None:
    """The gates' trajectories; None if none were recorded."""
    gates = []
    for index, trace in enumerate(run.history or ()):
        line = trace.line
        if not line or set(line.lower()) - set("ilb"):
            continue
        tail = len(line) - len(line.rstrip("ILB"))
        frozen = len(line) - tail if tail and trace.one_hot_since is not None else None
        margins = trace.margins if len(trace.margins) == len(line) else "9" * len(line)
        shown = tuple(int(m) / 9 if m in "0123456789" else 1.0 for m in margins)
        since, points = trace.one_hot_since, _points(trace.ratios, len(line))
        gates.append(
            Trajectory(trace.layer, trace.gate, line.upper(), shown, frozen, since, index, points)
        )
    if not gates:
        return None
    done = sum(gate.frozen is not None for gate in gates)
    changed = sum(trace.changes > 0 for trace in run.history or ())
    return Trajectories(
        f"{done} of {counted(len(gates), 'gate')} became one-hot; {changed} changed their "
        "normalizer on the way",
        tuple(gates),
        _radii([gate.points for gate in gates]),
    )


def _points(digits: str, count: int) -> tuple[tuple[float, float], ...]:
    if len(digits) != 4 * count or not (digits.isascii() and digits.isdigit()):
        return ()
    numbers = [int(digits[place : place + 2]) / 99 for place in range(0, len(digits), 2)]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _radii(paths: Sequence[tuple[tuple[float, float], ...]]) -> tuple[float, ...]:
    """The smallest distance of the gates to the centre, in each part of the training.

    Gates of only two normalizers have another centre and do not count.
    """
    whole = [path for path in paths if path and not _on_an_edge(path)]
    if not whole or len({len(path) for path in whole}) > 1:
        return ()
    return tuple(min(map(_distance, points)) for points in zip(*whole, strict=True))


def _on_an_edge(path: tuple[tuple[float, float], ...]) -> bool:
    return any(all(p[axis] == 0 for p in path) for axis in (0, 1)) or all(
        p[0] + p[1] == 1 for p in path
    )


def _distance(point: tuple[float, float]) -> float:
    first, second = point
    return math.dist((first, second, 1 - first - second), (1 / 3, 1 / 3, 1 / 3))
