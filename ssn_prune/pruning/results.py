"""What pruning found and did, layer by layer. Data, and how it is put together."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass

from torch import nn

from ssn_prune.pruning.capture.records import Capture
from ssn_prune.pruning.counting import count_parameters, operators_before
from ssn_prune.pruning.folds.table import rule_of
from ssn_prune.pruning.forms.table import class_name
from ssn_prune.pruning.plan import LayerPlan, Plan
from ssn_prune.selection import GateState, LayerSelection, Selection
from ssn_prune.surgery.results import AdoptionCheck


@dataclass(frozen=True)
class GateReport:
    """One gate: its choice, ratios by normalizer, and largest minus second largest ratio."""

    choice: str
    ratios: dict[str, float]
    converged: bool
    margin: float


@dataclass(frozen=True)
class LayerReport:
    """One switchable layer; ``form`` to ``reason`` are None before planning (``inspect``)."""

    name: str
    kind: str
    channels: int | None
    positions: int | None
    mean: GateReport
    var: GateReport
    converged: bool
    radius: float | None
    aliases: tuple[str, ...] = ()
    calls: int | None = None
    correction: int | None = None
    form: str | None = None
    fold: str | None = None
    folded_into: str | None = None
    reason_code: str | None = None
    reason: str | None = None

    @property
    def fold_title(self) -> str | None:
        """What moved, for people; ``fold`` is the code for programs."""
        return None if self.fold is None else rule_of(self.fold).title

    @property
    def folded(self) -> str | None:
        """The old name of ``fold_title``."""
        message = "LayerReport.folded is called fold_title since version 0.2; fold is its code"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.fold_title


@dataclass(frozen=True)
class NetworkStats:
    """Parameters (elements) and ATen operators by kind; operators are None if not captured."""

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
        capture_error: Why the network could not be captured whole.
        rounded: What rounding the gates did.
        captured_parts: Submodules that were captured instead of the whole.
        size_conditions: What the result supposes of the sizes of its inputs.
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
    return tuple(_layer_report(layer, None) for layer in selection.layers)


def prune_report(
    selection: Selection,
    plan: Plan,
    captured: Capture,
    original: nn.Module,
    pruned: nn.Module,
    rounded: RoundedGates | None,
    adoption: AdoptionCheck | None = None,
) -> PruneReport:
    """Put selection, plan and capture together."""
    layers = zip(selection.layers, plan.layers, strict=True)
    return PruneReport(
        layers=tuple(_layer_report(layer, planned) for layer, planned in layers),
        before=NetworkStats(count_parameters(original), operators_before(original, captured)),
        after=NetworkStats(count_parameters(pruned), None),
        capture_error=captured.error,
        rounded=rounded,
        captured_parts=captured.parts,
        size_conditions=tuple(guard.readable for guard in captured.guards),
        adoption=adoption,
    )


def _layer_report(layer: LayerSelection, planned: LayerPlan | None) -> LayerReport:
    base = LayerReport(
        name=layer.name,
        kind=layer.kind,
        channels=layer.num_features,
        positions=planned.positions if planned else None,
        mean=_gate_report(layer.mean),
        var=_gate_report(layer.var),
        converged=layer.converged,
        radius=layer.radius,
    )
    if planned is None:
        return base
    return dataclasses.replace(
        base,
        aliases=planned.aliases,
        calls=planned.calls,
        correction=planned.correction,
        form=class_name(planned),
        fold=planned.fold.code if planned.fold else None,
        folded_into=planned.fold.target if planned.fold else None,
        reason_code=planned.refusal.code.value if planned.refusal else None,
        reason=_reason(planned),
    )


def _reason(planned: LayerPlan) -> str | None:
    if planned.refusal is None:
        return None
    centred = planned.centre is not None
    note = "; centred at run time, since a channel is nearly constant" if centred else ""
    return planned.refusal.reason + note


def _gate_report(gate: GateState) -> GateReport:
    names = ("IN", "LN", "BN")
    ratios = dict(zip(names, gate.ratios, strict=False))
    return GateReport(gate.choice.name, ratios, gate.one_hot, gate.margin)
