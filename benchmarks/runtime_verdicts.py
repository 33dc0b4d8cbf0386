"""Which cells of the matrix are right.

A file is right if its largest error is at most max(1e-5, 10 times its twin's in that runtime) of
the largest output; see ``ssn_prune.runtime.backends.bound``. A twin is itself held to its error in
ONNX Runtime, so a wrong twin excuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssn_prune.runtime.backends.bound import bound_in_runtime

TWIN = "twin"


@dataclass(frozen=True)
class Outcome:
    """What became of a file in a runtime.

    Attributes:
        kind: ``"ran"``, ``"refused"``, ``"crashed"`` or ``"hung"``.
        reason: Why it did not run, in the runtime's words.
        error: The largest error in units of the largest output; None if it did not run.
        seconds: Of one sample, of the file and of its twin, if they were timed.
    """

    kind: str
    reason: str = ""
    error: float | None = None
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Cell:
    """A file in a runtime, judged.

    Attributes:
        network: Name of the network.
        form: ``"open"`` or ``"fixed"``, the batch.
        target: What the file was made for.
        runtime: Name of the environment.
        verdict: ``"right"``, ``"wrong"``, ``"refused"``, ``"crashed"`` or ``"hung"``.
        as_twin: Whether the twin fails there in the same way.
        reason: Why it does not run.
        error: Its error, in units of the largest output.
        bound: The largest error that is right.
        twin_error: That of the twin there.
        onnxruntime_error: Its error in ONNX Runtime.
        latency: Of one sample, in units of the twin's.
    """

    network: str
    form: str
    target: str
    runtime: str
    verdict: str
    as_twin: bool
    reason: str
    error: float | None
    bound: float
    twin_error: float | None
    onnxruntime_error: float | None
    latency: float | None


def judge(
    network: str,
    form: str,
    target: str,
    runtime: str,
    here: Mapping[str, Outcome],
    onnxruntime: Mapping[str, Outcome],
) -> Cell:
    """Judge a file in a runtime.

    Args:
        network: Name of its network.
        form: ``"open"`` or ``"fixed"``, the batch.
        target: What it was made for.
        runtime: Name of the environment.
        here: What became of the files of its network and form there, by target.
        onnxruntime: The same in ONNX Runtime.
    """
    outcome, twin = here[target], here[TWIN]
    bound = bound_in_runtime(onnxruntime[TWIN].error)
    twin_verdict = _verdict(twin, bound)
    if target != TWIN:
        bound = bound_in_runtime(twin.error if twin_verdict == "right" else None)
    verdict = _verdict(outcome, bound)
    same = verdict == twin_verdict and _kind_of(outcome.reason) == _kind_of(twin.reason)
    return Cell(
        network=network,
        form=form,
        target=target,
        runtime=runtime,
        verdict=verdict,
        as_twin=same and verdict != "right",
        reason=outcome.reason,
        error=outcome.error,
        bound=bound,
        twin_error=twin.error,
        onnxruntime_error=onnxruntime[target].error,
        latency=outcome.seconds[0] / outcome.seconds[1] if outcome.seconds else None,
    )


def complaints(cells: Sequence[Cell], expected: int, backends: Mapping[str, str]) -> list[str]:
    """Why the cells are not what they should be: a line for each cell that fails.

    If a file fails as its twin does, the fault is not ours. A runtime may refuse a file if it reads
    the one that is made for it; a wrong answer has no such excuse.

    Args:
        cells: The cells; those of twins do not count.
        expected: How many must be right at least.
        backends: The target that is made for each runtime.
    """
    ours = [cell for cell in cells if cell.target != TWIN]
    served = {
        (cell.network, cell.runtime)
        for cell in ours
        if cell.verdict == "right" and cell.target == backends.get(cell.runtime)
    }
    found = [
        f"{cell.network}, {cell.form} batch, {cell.target} in {cell.runtime}: {cell.verdict}, "
        f"error {cell.error}, bound {cell.bound:.0e}. {cell.reason}"
        for cell in ours
        if cell.verdict != "right"
        and not cell.as_twin
        and not (cell.verdict == "refused" and (cell.network, cell.runtime) in served)
    ]
    right = sum(cell.verdict == "right" for cell in ours)
    if right < expected:
        found.append(f"{right} cells are right, {expected} are expected")
    return found


def _verdict(outcome: Outcome, bound: float) -> str:
    if outcome.error is None:
        return outcome.kind
    return "right" if outcome.error <= bound else "wrong"


def _kind_of(reason: str) -> str:
    """A reason without the details that differ between networks: names, numbers, shapes."""
    return re.sub(r"\"[^\"]*\"|'[^']*'|\[[^\]]*\]|\d+", "", reason)
