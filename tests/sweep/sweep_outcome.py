"""What the architecture sweep says about one network, as data: an outcome per name, one JSON line.

Every name ends with a :class:`Reason`; ``OK`` is one of them. Files hold one outcome a line and are
only appended to, so that a sweep can be stopped at any time; the last line of a name counts.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


class Reason(enum.StrEnum):
    """How a network ended."""

    OK = "OK"
    NO_NORM = "no_norm_to_swap"
    NEEDS_DATA = "needs_data"
    BUILD = "build_failed"
    SETUP = "setup_failed"
    PRUNE = "prune_failed"
    NOT_REPLACED = "not_replaced"
    FOLD_COUNT = "fold_count"
    CAPTURE = "capture"
    EXPORTER = "exporter"
    RUNTIME = "runtime"
    VERIFY = "verify_failed"
    ALGEBRA = "algebra"
    ROUNDING = "rounding"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"


class Limit(enum.StrEnum):
    """Whose limit a failure is."""

    OURS = "ours"
    CAPTURE = "torch.export"
    EXPORTER = "the ONNX exporter"
    RUNTIME = "the runtime"
    MACHINE = "the machine that ran the sweep"
    ARCHITECTURE = "the architecture as it is without weights"


@dataclass(frozen=True)
class Outcome:
    """One network.

    Attributes:
        name: ``torchvision:NAME`` or ``timm:NAME``.
        reason: How it ended.
        detail: One line on a failure, or on what was unusual about a success.
        limit: Whose limit a failure is.
        reproduction: The shortest code that shows it.
        inputs: Shapes of the example inputs, for people.
        correction: 1 for Bessel-corrected variances.
        layers: Switchable layers that were put in.
        folded: Those that folded, by the report.
        expected_folds: Those that have to, counted without the library's graph code.
        refused: Reason codes of the others with their number.
        operators_before: ATen operators of the network with all its switchable layers.
        nodes_after: Nodes of the ONNX file.
        algebra_error: Largest relative error of the algebra check.
        rounding_share: Largest error of the rounding check in units of its bound.
        fixed_batch: Why the file could only be exported with a fixed batch; empty if it has an
            open one.
        noise_growth: How much larger noise in the last digits gets inside the network.
        seconds: Wall-clock time, imports included.
        environment: Versions and machine.
        date: Day of the run.
    """

    name: str
    reason: Reason
    detail: str = ""
    limit: Limit | None = None
    reproduction: str = ""
    inputs: str = ""
    correction: int | None = None
    layers: int | None = None
    folded: int | None = None
    expected_folds: int | None = None
    refused: dict[str, int] = field(default_factory=dict)
    operators_before: int | None = None
    nodes_after: int | None = None
    algebra_error: float | None = None
    rounding_share: float | None = None
    fixed_batch: str = ""
    noise_growth: float | None = None
    seconds: float | None = None
    environment: str = ""
    date: str = ""


def to_line(outcome: Outcome) -> str:
    return json.dumps(dataclasses.asdict(outcome))


def from_line(line: str) -> Outcome:
    values = json.loads(line)
    values["reason"] = Reason(values["reason"])
    values["limit"] = Limit(values["limit"]) if values["limit"] else None
    return Outcome(**values)


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """The last outcome of every name; none if there is no file."""
    if not path.exists():
        return {}
    return latest(from_line(line) for line in path.read_text().splitlines() if line.strip())


def latest(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in outcomes}


def append(path: Path, outcome: Outcome) -> None:
    with path.open("a") as file:
        file.write(to_line(outcome) + "\n")
