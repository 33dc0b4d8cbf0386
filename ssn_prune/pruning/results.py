"""What pruning found and did, layer by layer: data.

Reports are assembled in :mod:`ssn_prune.pruning.reporting`. Nothing here imports torch, because
``inspect`` reports gates without it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from ssn_prune.nn.reference_gate import GateDefinition
from ssn_prune.pruning.stages import stages_of
from ssn_prune.selection import GateState, LayerSelection, Selection
from ssn_prune.surgery.results import AdoptionCheck


@dataclass(frozen=True)
class GateReport:
    """One gate; the fields are those of :class:`GateState`, with the normalizers' names."""

    choice: str
    ratios: dict[str, float]
    converged: bool
    margin: float
    on_simplex: bool = True


@dataclass(frozen=True)
class LayerReport:
    """One switchable layer; ``form`` to ``reason`` are None before planning (``inspect``).

    ``stage`` is the part of the network that the layer belongs to, by its path. ``order`` is the
    position of its first call among all calls, and ``producer`` the operator that makes its input
    there. Both are None if the network was not run or does not call the layer.
    """

    name: str
    kind: str
    channels: int | None
    positions: int | None
    mean: GateReport
    var: GateReport
    converged: bool
    radius: float | None
    gate_definition: GateDefinition | None = None
    aliases: tuple[str, ...] = ()
    calls: int | None = None
    correction: int | None = None
    form: str | None = None
    fold: str | None = None
    folded_into: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    stage: str | None = None
    order: int | None = None
    producer: str | None = None

    @property
    def fold_title(self) -> str | None:
        """What moved, for people; ``fold`` is the code for programs."""
        if self.fold is None:
            return None
        # Imported here because the rules import torch; only a plan, which needs torch, has folds.
        from ssn_prune.pruning.folds.table import rule_of

        return rule_of(self.fold).title

    @property
    def folded(self) -> str | None:
        """The old name of ``fold_title``."""
        message = "LayerReport.folded is called fold_title since version 0.2; fold is its code"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.fold_title


@dataclass(frozen=True)
class NetworkStats:
    """Number of parameter elements, and ATen operators by name; None if not captured."""

    parameters: int
    operators: dict[str, int] | None


@dataclass(frozen=True)
class RoundedGates:
    """Effect of rounding gates that are not one-hot, in float64 on the example inputs."""

    layers: tuple[str, ...]
    max_error: float
    scale: float
    top1_agreement: float | None


@dataclass(frozen=True)
class PruneReport:
    """What :func:`ssn_prune.prune` did.

    Attributes:
        layers: Every switchable layer.
        before: The original.
        after: The pruned network.
        capture_error: Why the network could not be captured as a whole.
        rounded: The effect of rounding the gates.
        captured_parts: Submodules that were captured instead of the whole.
        size_conditions: The conditions on the sizes of its inputs that the result relies on.
        adoption: How the original compares with the network that was given.
    """

    layers: tuple[LayerReport, ...]
    before: NetworkStats
    after: NetworkStats
    capture_error: str | None = None
    rounded: RoundedGates | None = None
    captured_parts: tuple[str, ...] = ()
    size_conditions: tuple[str, ...] = ()
    adoption: AdoptionCheck | None = None


def selection_layers(selection: Selection) -> tuple[LayerReport, ...]:
    """Report layers of a selection, before any plan."""
    stages = stages_of([layer.name for layer in selection.layers])
    return tuple(
        replace(layer_report(layer), stage=stage)
        for layer, stage in zip(selection.layers, stages, strict=True)
    )


def layer_report(layer: LayerSelection) -> LayerReport:
    """The report of a layer before any plan: its own settings and gates."""
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        channels=layer.num_features,
        positions=None,
        mean=_gate_report(layer.mean),
        var=_gate_report(layer.var),
        converged=layer.converged,
        radius=layer.radius,
        gate_definition=layer.gate_definition,
    )


def _gate_report(gate: GateState) -> GateReport:
    ratios = dict(zip(("IN", "LN", "BN"), gate.ratios, strict=False))
    return GateReport(gate.choice.name, ratios, gate.one_hot, gate.margin, gate.on_simplex)
