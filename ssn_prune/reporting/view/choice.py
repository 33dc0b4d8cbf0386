"""The selection of the network: the layers by stage, and how often each pair occurs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ssn_prune.normalizer import Normalizer
from ssn_prune.reporting.view.layers import Layer

NAMES = tuple(normalizer.name for normalizer in Normalizer)


@dataclass(frozen=True)
class Stage:
    """Consecutive layers of one part of the network.

    Attributes:
        name: The path of that part.
        label: The path, without the prefix that it shares with the stage before.
        layers: The layers in the order of their calls.
    """

    name: str
    label: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Choice:
    """The selection of a network.

    Attributes:
        finding: The most frequent choices in one sentence.
        stages: The stages in the order of their calls.
        counts: Layers by mean (row) and variance (column), IN, LN and BN each.
        folded: Whether any statistic of a layer is folded away.
        unfinished: Whether any gate is not one-hot.
    """

    finding: str
    stages: tuple[Stage, ...]
    counts: tuple[tuple[int, ...], ...]
    folded: bool
    unfinished: bool


def choice_of(layers: tuple[Layer, ...]) -> Choice:
    """Group layers by stage and count them by pair."""
    pairs = Counter((layer.mean.normalizer, layer.var.normalizer) for layer in layers)
    cells = [cell for layer in layers for cell in (layer.mean, layer.var)]
    return Choice(
        _finding(layers),
        _stages(layers),
        tuple(tuple(pairs[mean, var] for var in NAMES) for mean in NAMES),
        any(cell.folded for cell in cells),
        any(cell.unfinished for cell in cells),
    )


def _finding(layers: tuple[Layer, ...]) -> str:
    if len(layers) == 1:
        return (
            f"{layers[0].mean.normalizer} for the mean, {layers[0].var.normalizer} for the variance"
        )
    mixed = sum(layer.mean.normalizer != layer.var.normalizer for layer in layers)
    if not mixed:
        first = f"Each of {len(layers)} layers uses one normalizer for both statistics"
    else:
        first = (
            f"{mixed} of {len(layers)} layers {'mixes' if mixed == 1 else 'mix'} two normalizers"
        )
    mean, often = _most([layer.mean.normalizer for layer in layers])
    var, as_often = _most([layer.var.normalizer for layer in layers])
    if mean == var:
        return f"{first}; {mean} leads for the mean ({often}) and the variance ({as_often})"
    return f"{first}; {mean} leads for the mean ({often}), {var} for the variance ({as_often})"


def _most(chosen: list[str]) -> tuple[str, int]:
    counts = Counter(chosen)
    name = max(NAMES, key=lambda entry: counts[entry])
    return name, counts[name]


def _stages(layers: tuple[Layer, ...]) -> tuple[Stage, ...]:
    groups: list[list[Layer]] = []
    for layer in layers:
        if groups and groups[-1][-1].stage == layer.stage:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    if len(groups) == len(layers):  # stages of one layer each show nothing
        return (Stage("", "", layers),) if layers else ()
    stages = []
    parent = ""
    for group in groups:
        above, _, last = group[0].stage.rpartition(".")
        label = last if above and above == parent else group[0].stage
        stages.append(Stage(group[0].stage, label, tuple(group)))
        parent = above
    return tuple(stages)
