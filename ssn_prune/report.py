"""The report: what was selected, replaced and folded, and what was measured. Data only.

The JSON form is documented in docs/report.md; ``SCHEMA_VERSION`` grows when a field changes its
meaning or disappears, not when one is added.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

from torch import nn

from ssn_prune.checkpoint.loading import Source
from ssn_prune.pruning.capture.records import Capture
from ssn_prune.pruning.counting import count_parameters, operators_before
from ssn_prune.pruning.plan import LayerPlan, Plan
from ssn_prune.selection import GateState, LayerSelection, Selection

SCHEMA_VERSION = 1


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
    folded: str | None = None
    folded_into: str | None = None
    reason_code: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class NetworkStats:
    """Parameters (elements) and ATen operators by kind; operators are None if not captured."""

    parameters: int
    operators: dict[str, int] | None


@dataclass(frozen=True)
class RoundedGates:
    """Effect of rounding unfinished gates, in float64 on the example inputs."""

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
        rounded: What rounding unfinished gates did.
        captured_parts: Submodules that were captured instead of the whole.
        size_conditions: What the result supposes of the sizes of its inputs.
    """

    layers: tuple[LayerReport, ...]
    before: NetworkStats
    after: NetworkStats
    capture_error: str | None = None
    rounded: RoundedGates | None = None
    captured_parts: tuple[str, ...] = ()
    size_conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnnxStats:
    """An exported file: nodes, operators by kind, bytes, and how it was exported."""

    file_name: str
    bytes: int
    external_data: str | None
    nodes: int
    operators: dict[str, int]
    opset: int
    ir_version: int
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]


@dataclass(frozen=True)
class AlgebraCheck:
    """Pruned against original, both float64: relative errors and the bound they must meet."""

    passed: bool
    output_error: float
    worst_layer: str | None
    worst_layer_error: float
    first_layer_off: str | None
    tolerance: float


@dataclass(frozen=True)
class RoundingCheck:
    """ONNX Runtime against the original in float64: absolute errors and the bound."""

    passed: bool
    max_error: float
    original_float32_error: float
    bound: float
    scale: float
    top1_agreement: float | None
    inputs: int
    batch_sizes: tuple[int, ...]
    first_layer_off: str | None


@dataclass(frozen=True)
class VerificationReport:
    """Both checks; a check that was switched off is None."""

    algebra: AlgebraCheck | None
    rounding: RoundingCheck | None

    @property
    def passed(self) -> bool:
        """Whether every check that ran passed."""
        return all(check.passed for check in (self.algebra, self.rounding) if check is not None)


@dataclass(frozen=True)
class ConversionReport:
    """Everything that a conversion knows."""

    schema_version: int
    ssn_prune_version: str
    source: Source
    layers: tuple[LayerReport, ...]
    before: NetworkStats | None = None
    after: NetworkStats | None = None
    capture_error: str | None = None
    rounded: RoundedGates | None = None
    onnx: OnnxStats | None = None
    verification: VerificationReport | None = None
    captured_parts: tuple[str, ...] = ()
    size_conditions: tuple[str, ...] = ()


def to_json(value: Any) -> Any:
    """Turn reports into what ``json.dumps`` takes; enums become their values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and value != value:
        return None  # JSON has no NaN
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value


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
        form=planned.form_name,
        folded=planned.fold.kind.value if planned.fold else None,
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
    return GateReport(gate.choice.name, ratios, gate.converged, gate.margin)
