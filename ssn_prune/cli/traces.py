"""The gate history that an option names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssn_prune.training.gate_traces import GateTrace


def traces_of(path: Path) -> tuple[GateTrace, ...]:
    """Read a gate history.

    Raises:
        CheckpointError: The file is missing or is none.
    """
    from ssn_prune.training.gate_traces import gate_traces
    from ssn_prune.training.history import GateRecords

    return gate_traces(GateRecords.load(path))
