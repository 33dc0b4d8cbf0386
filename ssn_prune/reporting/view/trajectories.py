"""How the gates came about: the leading normalizer of every gate over the training."""

from __future__ import annotations

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
        frozen: The first part in which it was one-hot for good; None if it is not.
        since: The step of that.
    """

    layer: str
    gate: str
    leaders: str
    margins: tuple[float, ...]
    frozen: int | None
    since: int | None


@dataclass(frozen=True)
class Trajectories:
    """All gates.

    Attributes:
        finding: What they come to.
        gates: In the network's order.
    """

    finding: str
    gates: tuple[Trajectory, ...]


def trajectories_of(run: Run) -> Trajectories | None:
    """The gates' trajectories; None if none were recorded."""
    gates = []
    for trace in run.history or ():
        line = trace.line
        if not line or set(line.lower()) - set("ilb"):
            continue
        tail = len(line) - len(line.rstrip("ILB"))
        frozen = len(line) - tail if tail and trace.one_hot_since is not None else None
        margins = trace.margins if len(trace.margins) == len(line) else "9" * len(line)
        shown = tuple(int(m) / 9 if m in "0123456789" else 1.0 for m in margins)
        gates.append(
            Trajectory(trace.layer, trace.gate, line.upper(), shown, frozen, trace.one_hot_since)
        )
    if not gates:
        return None
    done = sum(gate.frozen is not None for gate in gates)
    changed = sum(trace.changes > 0 for trace in run.history or ())
    return Trajectories(
        f"{done} of {counted(len(gates), 'gate')} became one-hot; {changed} changed their "
        "normalizer on the way",
        tuple(gates),
    )
