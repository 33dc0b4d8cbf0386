"""Which other pairs a layer could have: the cheaper ones, and those among them worth choosing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from ssn_prune.costs.records import Costs, LayerPairCost
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.pruning.static_norm import running_statistics
from ssn_prune.searching.selections import switchable_layers
from ssn_prune.selection import LayerSelection, Selection

_LEAST_SAVING = 2e-4
"""Share of the latency without norms. A smaller saving is ignored: no measurement could show it."""


@dataclass(frozen=True)
class Alternative:
    """Another pair for a layer.

    Attributes:
        layer: Path of the layer.
        pair: The pair.
        milliseconds: What it costs above BN/BN.
        saved: Milliseconds that it saves, compared with the present pair.
        harm: Divergence of the network's outputs with this change alone.
        error: Standard error of the harm.
    """

    layer: str
    pair: NormalizerPair
    milliseconds: float
    saved: float
    harm: float = 0.0
    error: float = 0.0


def present_cost(layer: LayerSelection, costs: Costs) -> float:
    """What a layer costs now, in milliseconds above BN/BN.

    A layer whose gates are not one-hot computes every statistic with a weight. It counts as much as
    the most expensive pair among them.
    """
    used = [
        NormalizerPair(mean, var)
        for mean in _weighed(layer.mean.ratios)
        for var in _weighed(layer.var.ratios)
    ]
    known = set(costs.pairs(layer.name))
    return max((costs.of(layer.name, pair) for pair in used if pair in known), default=0.0)


def exportable(costs: Costs, model: nn.Module) -> Costs:
    """The costs without pairs with BN at layers that have no running statistics to export."""
    layers = switchable_layers(model).items()
    untracked = {name for name, layer in layers if running_statistics(layer) is None}

    def can_be_exported(cost: LayerPairCost) -> bool:
        return cost.layer not in untracked or Normalizer.BN not in (cost.pair.mean, cost.pair.var)

    return replace(costs, layers=tuple(filter(can_be_exported, costs.layers)))


def cheaper(selection: Selection, costs: Costs) -> list[Alternative]:
    """All pairs that save time, in the network's order.

    Args:
        selection: What the layers selected.
        costs: What pairs cost at each layer.
    """
    found = []
    least = _LEAST_SAVING * (costs.norm_free_ms or 0.0)
    for layer in selection.layers:
        cost = present_cost(layer, costs)
        for pair in costs.pairs(layer.name):
            own = costs.of(layer.name, pair)
            if cost - own > least and not (layer.converged and pair == layer.pair):
                found.append(Alternative(layer.name, pair, own, cost - own))
    return found


def worth_choosing(alternatives: Sequence[Alternative]) -> list[Alternative]:
    """Drop the alternatives that another one of the same layer dominates in cost and harm."""
    by_layer: dict[str, list[Alternative]] = {}
    for alternative in alternatives:
        by_layer.setdefault(alternative.layer, []).append(alternative)
    return [
        one
        for group in by_layer.values()
        for one in group
        if not any(_dominates(other, one) for other in group if other is not one)
    ]


def _dominates(one: Alternative, other: Alternative) -> bool:
    better = (one.milliseconds, one.harm) < (other.milliseconds, other.harm)
    return one.milliseconds <= other.milliseconds and one.harm <= other.harm and better


def _weighed(ratios: Sequence[float]) -> list[Normalizer]:
    return [n for n, ratio in zip(Normalizer, ratios, strict=False) if ratio != 0]
