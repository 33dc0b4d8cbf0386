"""What a network loses in float32 once its layers are the normalizers that they selected.

Nothing is folded and nothing is centred, so a fold that loses digits does not hide itself. And the
float32 outputs are compared with those of the same formulas in float64: the distance from the
user's network would hide any difference that the formulas themselves make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ssn_prune.pruning.forms.table import form_of
from ssn_prune.pruning.plan import LayerPlan, Plan, Refusal, RefusalCode
from ssn_prune.pruning.rewrite import apply_plan
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.verification.reference_outputs import Outputs, float32_outputs, run_float64


def selected_outputs(
    original: nn.Module, plan: Plan, batches: Sequence[tuple[Any, ...]]
) -> tuple[Outputs, Outputs]:
    """Outputs of the network with the selected normalizers, without folds.

    Args:
        original: The network with switchable layers; not changed.
        plan: The plan that makes the pruned network from it.
        batches: Inputs of several calls.

    Returns:
        The outputs in float32 and in float64.
    """
    unfolded = replace(plan, layers=tuple(_unfolded(layer, plan) for layer in plan.layers))
    network = apply_plan(unfolded, original)
    wide = float64_copy(network)
    return float32_outputs(network, batches), [run_float64(wide, batch) for batch in batches]


def _unfolded(layer: LayerPlan, plan: Plan) -> LayerPlan:
    if layer.pair is None or (layer.fold is None and not layer.absorbs):
        return layer
    positions = None if plan.any_size else layer.positions
    return replace(
        layer,
        form=form_of(layer.pair, correction=layer.correction, positions=positions),
        fold=None,
        refusal=Refusal(RefusalCode.DISABLED, "the formulas are measured without folds"),
        absorbs=(),
        exposed=True,
        centre=None,
    )
