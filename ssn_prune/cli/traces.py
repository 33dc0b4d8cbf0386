"""Read the gate history that the user named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssn_prune.errors import ArgumentError
from ssn_prune.text import listed

if TYPE_CHECKING:
    from ssn_prune.selection import Selection
    from ssn_prune.training.gate_traces import GateTrace


def traces_of(path: Path, selection: Selection) -> tuple[GateTrace, ...]:
    """Read the gate history of a network.

    Args:
        path: The file.
        selection: What the network selected.

    Raises:
        CheckpointError: The file is missing or is not a gate history.
        ArgumentError: It belongs to a network with other layers.
    """
    from ssn_prune.training.gate_traces import gate_traces
    from ssn_prune.training.history import GateRecords

    traces = gate_traces(GateRecords.load(path))
    own = {layer.name for layer in selection.layers}
    other = [trace.layer for trace in traces if trace.layer not in own]
    if other:
        raise ArgumentError(
            f"{path} is the gate history of another network",
            expected=f"the {len(own)} layers of the checkpoint",
            found=f"layers such as {listed(list(dict.fromkeys(other)), 2)}",
            hint="give the history that was recorded with this checkpoint",
        )
    return traces
