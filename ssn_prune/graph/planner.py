"""The planner: selection and capture in, plan out. It decides; the rewrite never re-checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from ssn_prune.errors import UndefinedVarianceError, UnsupportedLayerError
from ssn_prune.graph.centring import NEARLY_CONSTANT, Centre
from ssn_prune.graph.facts import Capture
from ssn_prune.graph.folding import plan_fold
from ssn_prune.graph.forms import Form, PairForm, form_of
from ssn_prune.graph.plan import Fold, LayerPlan, Plan, Ratios, Refusal, RefusalCode
from ssn_prune.layers.copying import names_of
from ssn_prune.layers.switchable import SwitchableNorm
from ssn_prune.normalizer import Normalizer
from ssn_prune.selection import GateState, LayerSelection, Selection


def make_plan(
    model: nn.Module,
    selection: Selection,
    captured: Capture,
    *,
    fold: bool = True,
    keep_weighted: bool = False,
) -> Plan:
    """Decide what becomes of every layer.

    Args:
        model: The network; not changed. Its values matter only where a fold must stay in range.
        selection: Its selection.
        captured: Its capture.
        fold: Fold into convolutions and linear layers.
        keep_weighted: Keep layers with unfinished gates as weighted forms instead of rounding them.

    Returns:
        The plan.

    Raises:
        UndefinedVarianceError: A Bessel-corrected IN or LN variance is used on one position.
        UnsupportedLayerError: BN is used without running statistics.
    """
    plans, undefined, untracked = [], [], []
    for layer in selection.layers:
        module = model.get_submodule(layer.name)
        assert isinstance(module, SwitchableNorm)  # selections name switchable layers only
        plan = _plan_layer(model, module, layer, captured, fold, keep_weighted)
        uses_instance = plan.var_ratios[Normalizer.IN] or plan.var_ratios[Normalizer.LN]
        if module.correction and uses_instance and 1 in _positions(captured, layer.name):
            undefined.append(layer.name)
        uses_batch = plan.mean_ratios[Normalizer.BN] or plan.var_ratios[Normalizer.BN]
        if uses_batch and (module.running_mean is None or module.running_var is None):
            untracked.append(layer.name)
        plans.append(plan)
    if undefined:
        raise UndefinedVarianceError(undefined)
    if untracked:
        raise _untracked_error(untracked)
    return Plan(tuple(plans))


def _untracked_error(names: list[str]) -> UnsupportedLayerError:
    listed = ", ".join(name or "the layer" for name in names)
    return UnsupportedLayerError(
        f"{listed}: BN is selected or mixed in, but there are no running statistics",
        expected="running_mean and running_var: constants to normalize by at inference",
        found="track_running_stats=False, which takes BN's statistics from each batch",
        hint="ssn_prune.recalibrate(model, batches) with some training batches gives the layers "
        "running statistics; prune after that",
    )


def with_centres(plan: Plan, centres: Mapping[str, Centre]) -> Plan:
    """Add centring constants: always where a convolution subtracts them, else where they matter."""
    layers = []
    for layer in plan.layers:
        centre = centres.get(layer.name)
        if centre is not None and (layer.fold is not None or centre.peak > NEARLY_CONSTANT):
            layer = replace(layer, centre=tuple(float(value) for value in centre.values))
        layers.append(layer)
    return Plan(tuple(layers))


def layers_to_centre(plan: Plan) -> tuple[str, ...]:
    """The layers with an IN mean, which cancels any constant in front of it.

    A corrected IN/LN is left out: centring would take it over its budget of nodes, and its scale is
    that of the whole layer, never that of a constant channel. A single position is its own mean, to
    the last bit, so only a fold has a use for the constant there.
    """
    return tuple(
        layer.name
        for layer in plan.layers
        if layer.pair is not None
        and layer.pair.mean is Normalizer.IN
        and not (layer.pair.var is Normalizer.LN and layer.correction)
        and not (layer.positions == 1 and layer.fold is None)
    )


def _plan_layer(
    model: nn.Module,
    module: SwitchableNorm,
    layer: LayerSelection,
    captured: Capture,
    may_fold: bool,
    keep_weighted: bool,
) -> LayerPlan:
    sizes = _positions(captured, layer.name)
    positions = next(iter(sizes)) if len(sizes) == 1 else None
    weighted = keep_weighted and not layer.converged
    if weighted:
        pair, entry = None, PairForm(Form.MOMENTS)
        mean, var = _padded(layer.mean), _padded(layer.var)
        text = "the gates are unfinished, so the layer keeps its weighted form"
        fold: Fold | Refusal = Refusal(RefusalCode.WEIGHTED, text)
    else:
        pair = layer.pair
        entry = form_of(pair, correction=module.correction, positions=positions)
        mean, var = _one_hot(pair.mean), _one_hot(pair.var)
        fold = (
            plan_fold(model, module, layer.name, pair, entry, captured)
            if may_fold
            else Refusal(RefusalCode.DISABLED, "folding was switched off")
        )
    folded = isinstance(fold, Fold)
    form = entry.folded if folded and entry.folded else entry.form
    first, *aliases = names_of(model, module)
    return LayerPlan(
        name=first,
        aliases=tuple(aliases),
        num_features=module.num_features,
        dimension=max(module.dims) - 2,
        correction=module.correction,
        positions=positions,
        calls=len(captured.calls.get(layer.name, ())),
        pair=pair,
        mean_ratios=mean,
        var_ratios=var,
        form=form,
        fold=fold if isinstance(fold, Fold) else None,
        refusal=fold if isinstance(fold, Refusal) else None,
    )


def _positions(captured: Capture, name: str) -> set[int | None]:
    return {call.positions for call in captured.calls.get(name, ())}


def _one_hot(choice: Normalizer) -> Ratios:
    values = [1.0 if k == choice else 0.0 for k in Normalizer]
    return values[0], values[1], values[2]


def _padded(gate: GateState) -> Ratios:
    values = [*gate.ratios, 0.0][:3]
    return values[0], values[1], values[2]
