"""The planner: from selection and capture to a plan. It decides; the rewrite never re-checks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ssn_prune.errors import UndefinedVarianceError, UnsupportedLayerError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.nn.variance_kind import FROM_PLANES
from ssn_prune.normalizer import Normalizer
from ssn_prune.pruning.capture.partial import UNCAPTURED
from ssn_prune.pruning.capture.records import Capture
from ssn_prune.pruning.folds.absorbed import absorb_affine_modules
from ssn_prune.pruning.folds.context import Candidate, Decision, FoldContext
from ssn_prune.pruning.folds.table import FOLD_RULES
from ssn_prune.pruning.forms import moments
from ssn_prune.pruning.forms.table import form_of
from ssn_prune.pruning.plan import Fold, LayerPlan, Plan, Ratios, Refusal, RefusalCode
from ssn_prune.pruning.static_norm import running_statistics
from ssn_prune.selection import GateState, LayerSelection, Selection
from ssn_prune.surgery.copying import all_names, has_hooks


def make_plan(
    model: nn.Module,
    selection: Selection,
    captured: Capture,
    *,
    fold: bool = True,
    keep_weighted: bool = False,
    any_size: bool = False,
) -> Plan:
    """Decide what becomes of every layer.

    Args:
        model: The network; not changed. Its values matter only for whether a fold stays in range.
        selection: Its selection.
        captured: Its capture.
        fold: Fold into convolutions and linear layers.
        keep_weighted: Keep the weighted form of layers whose gates are not one-hot, instead of
            rounding the gates.
        any_size: Use forms that are exact at every spatial size, not only at the captured one.

    Returns:
        The plan.

    Raises:
        UndefinedVarianceError: A Bessel-corrected variance is used where it is 0/0: an IN variance
            over one position, or an LN variance that is made of these or of a single channel.
        UnsupportedLayerError: BN is used without running statistics.
    """
    candidates = {
        layer.name: _candidate(model, layer, captured, keep_weighted, any_size)
        for layer in selection.layers
    }
    _require_defined(candidates, selection, captured)
    decisions = (
        decide_folds(model, captured, candidates)
        if fold
        else dict.fromkeys(candidates, Decision(refusals=[_DISABLED]))
    )
    names = all_names(model)

    def planned(layer: LayerSelection) -> LayerPlan:
        candidate = candidates[layer.name]
        paths = names[id(candidate.module)]
        return _layer_plan(paths, candidate, layer, captured, decisions[layer.name])

    return Plan(tuple(map(planned, selection.layers)), any_size=any_size)


_DISABLED = Refusal(RefusalCode.DISABLED, "folding was switched off")
_WEIGHTED = Refusal(
    RefusalCode.WEIGHTED, "the gates are not one-hot, so the layer keeps its weighted form"
)


def decide_folds(
    model: nn.Module, captured: Capture, candidates: Mapping[str, Candidate]
) -> dict[str, Decision]:
    """Decide for every layer what folds and into what, or why nothing does.

    Args:
        model: The network; not changed.
        captured: Its capture.
        candidates: All layers by name.
    """
    context = FoldContext(model, captured, candidates)
    layers = context.in_order()
    for layer in layers:
        absorb_affine_modules(context, layer)
        refusal = _no_rule_holds(context, layer)
        if refusal is not None:
            context.decisions[layer.name].refusals.append(refusal)
            context.decisions[layer.name].closed = True
    for rule in FOLD_RULES:
        for layer in layers:
            decision = context.decisions[layer.name]
            if decision.fold is not None or decision.closed or layer.pair not in rule.pairs:
                continue
            outcome = rule.check(context, layer)
            if isinstance(outcome, Fold):
                decision.fold = outcome
            elif outcome is not None:
                decision.refusals.append(outcome)
                # A hook on a neighbour may depend on what the neighbourhood computes.
                decision.closed = outcome.code is RefusalCode.HOOKS
    return context.decisions


def _no_rule_holds(context: FoldContext, layer: Candidate) -> Refusal | None:
    """Why no rule can apply to a layer, whatever its neighbours are; None if one may."""
    if layer.pair is None:
        return _WEIGHTED
    if not any(layer.pair in rule.pairs for rule in FOLD_RULES):
        text = "both statistics are measured on each image at run time, so nothing is constant"
        return Refusal(RefusalCode.NOTHING_FOLDS, text)
    calls, error = context.calls(layer.name), context.captured.error
    if not calls and error is None:
        text = "the captured graph shows no call of this layer"
        return Refusal(RefusalCode.NOT_CALLED, text)
    if not calls or any(call.producer == UNCAPTURED for call in calls):
        text = f"torch.export could not capture the code around it ({error})"
        return Refusal(RefusalCode.CAPTURE_FAILED, text)
    if has_hooks(layer.module):
        return Refusal(RefusalCode.HOOKS, f"{layer.name} has hooks")
    return None


def _require_defined(
    candidates: Mapping[str, Candidate], selection: Selection, captured: Capture
) -> None:
    """Refuse layers that use an undefined variance or missing running statistics."""
    undefined, untracked = [], []
    for layer in selection.layers:
        module = candidates[layer.name].module
        mean, var = _ratios(candidates[layer.name], layer)
        uses = var[Normalizer.IN]
        if module.correction == FROM_PLANES or module.num_features == 1:
            uses = uses or var[Normalizer.LN]
        if module.correction and uses and 1 in _positions(captured, layer.name):
            undefined.append(layer.name)
        uses_batch = mean[Normalizer.BN] or var[Normalizer.BN]
        if uses_batch and running_statistics(module) is None:
            untracked.append(layer.name)
    if undefined:
        raise UndefinedVarianceError(undefined)
    if untracked:
        raise _untracked_error(untracked)


def _untracked_error(names: list[str]) -> UnsupportedLayerError:
    listed = ", ".join(name or "the layer" for name in names)
    return UnsupportedLayerError(
        f"{listed}: BN is selected or mixed in, but there are no running statistics",
        expected="running_mean and running_var: constants to normalize by at inference",
        found="track_running_stats=False, which takes BN's statistics from each batch",
        hint="ssn_prune.recalibrate(model, batches) with some training batches gives the layers "
        "running statistics; prune after that",
    )


def _candidate(
    model: nn.Module,
    layer: LayerSelection,
    captured: Capture,
    keep_weighted: bool,
    any_size: bool,
) -> Candidate:
    module = model.get_submodule(layer.name)
    assert isinstance(module, SwitchableNorm)  # selections name switchable layers only
    if keep_weighted and not layer.converged:
        return Candidate(layer.name, module, None, moments.CODE)
    positions = None if any_size else _fixed_positions(captured, layer.name)
    form = form_of(layer.pair, correction=module.correction, positions=positions)
    return Candidate(layer.name, module, layer.pair, form)


def _ratios(candidate: Candidate, layer: LayerSelection) -> tuple[Ratios, Ratios]:
    if candidate.pair is None:
        return _padded(layer.mean), _padded(layer.var)
    return _one_hot(candidate.pair.mean), _one_hot(candidate.pair.var)


def _layer_plan(
    paths: tuple[str, ...],
    candidate: Candidate,
    layer: LayerSelection,
    captured: Capture,
    decision: Decision,
) -> LayerPlan:
    module, fold = candidate.module, decision.fold
    mean, var = _ratios(candidate, layer)
    calls = captured.calls.get(layer.name, ())
    first, *aliases = paths
    return LayerPlan(
        name=first,
        aliases=tuple(aliases),
        num_features=module.num_features,
        dimension=max(module.dims) - 2,
        correction=module.correction,
        positions=_fixed_positions(captured, layer.name),
        calls=len(calls),
        pair=candidate.pair,
        mean_ratios=mean,
        var_ratios=var,
        form=candidate.form if fold is None else fold.leaves,
        fold=fold,
        refusal=decision.refusal,
        absorbs=tuple(decision.absorbs),
        order=calls[0].order if calls else -1,
        exposed=decision.exposed,
    )


def _fixed_positions(captured: Capture, name: str) -> int | None:
    sizes = _positions(captured, name)
    return next(iter(sizes)) if len(sizes) == 1 else None


def _positions(captured: Capture, name: str) -> set[int | None]:
    return {call.positions for call in captured.calls.get(name, ())}


def _one_hot(choice: Normalizer) -> Ratios:
    values = [1.0 if k == choice else 0.0 for k in Normalizer]
    return values[0], values[1], values[2]


def _padded(gate: GateState) -> Ratios:
    values = [*gate.ratios, 0.0][:3]
    return values[0], values[1], values[2]
