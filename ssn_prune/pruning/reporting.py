"""The report on pruning, assembled from selection, plan and capture."""

from __future__ import annotations

import dataclasses

from torch import nn

from ssn_prune.pruning.capture.records import Capture
from ssn_prune.pruning.counting import count_parameters, operators_before
from ssn_prune.pruning.forms.table import class_name
from ssn_prune.pruning.plan import LayerPlan, Plan
from ssn_prune.pruning.results import (
    LayerReport,
    NetworkStats,
    PruneReport,
    RoundedGates,
    selection_layers,
)
from ssn_prune.selection import Selection
from ssn_prune.surgery.results import AdoptionCheck


def prune_report(
    selection: Selection,
    plan: Plan,
    captured: Capture,
    original: nn.Module,
    pruned: nn.Module,
    rounded: RoundedGates | None,
    adoption: AdoptionCheck | None = None,
) -> PruneReport:
    """Assemble the report from selection, plan and capture."""
    layers = zip(selection_layers(selection), plan.layers, strict=True)
    return PruneReport(
        layers=tuple(_planned_report(layer, planned, captured) for layer, planned in layers),
        before=NetworkStats(count_parameters(original), operators_before(original, captured)),
        after=NetworkStats(count_parameters(pruned), None),
        capture_error=captured.error,
        rounded=rounded,
        captured_parts=captured.parts,
        size_conditions=tuple(guard.readable for guard in captured.guards),
        adoption=adoption,
    )


def _planned_report(layer: LayerReport, planned: LayerPlan, captured: Capture) -> LayerReport:
    calls = captured.calls.get(planned.name, ())
    return dataclasses.replace(
        layer,
        positions=planned.positions,
        aliases=planned.aliases,
        calls=planned.calls,
        correction=planned.correction,
        form=class_name(planned),
        fold=planned.fold.code if planned.fold else None,
        folded_into=planned.fold.target if planned.fold else None,
        reason_code=planned.refusal.code.value if planned.refusal else None,
        reason=_reason(planned),
        order=planned.order if calls else None,
        producer=calls[0].producer if calls else None,
    )


def _reason(planned: LayerPlan) -> str | None:
    if planned.refusal is None:
        return None
    centred = planned.centre is not None
    note = "; centred at run time, since a channel is nearly constant" if centred else ""
    return planned.refusal.reason + note
