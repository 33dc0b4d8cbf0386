"""Check that costs belong to a network: they must have its layers, with the same input shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.costs.places import PlacedLayer, find_layers
from ssn_prune.costs.records import Costs
from ssn_prune.errors import CostsError
from ssn_prune.example_inputs import example_batches
from ssn_prune.surgery.from_reference import adopt_layers
from ssn_prune.surgery.guest import guest
from ssn_prune.text import listed, printable, shown


@guest()
def require_costs_of(costs: Costs, loaded: LoadedCheckpoint) -> Costs:
    """Refuse the costs of another network, or at other input sizes.

    Args:
        costs: The costs.
        loaded: The checkpoint; not changed.

    Returns:
        The costs of the pairs that the network's layers offer.

    Raises:
        CostsError: Layers or shapes differ, or a pair has no cost; the error says which.
    """
    inputs = example_batches(loaded, [costs.batch])[0]
    layers = find_layers(adopt_layers(loaded.model).eval(), inputs)
    require_same_places(costs, layers)
    offered = {(layer.name, pair) for layer in layers for pair in layer.pairs}
    return replace(
        costs, layers=tuple(cost for cost in costs.layers if (cost.layer, cost.pair) in offered)
    )


def require_same_places(costs: Costs, layers: Sequence[PlacedLayer]) -> None:
    """Like :func:`require_costs_of`, for layers found with the batch size of the costs."""
    known = {entry.layer: entry.inputs for entry in costs.shapes}
    names = [layer.name for layer in layers]
    missing = [name for name in names if name not in known]
    others = [name for name in known if name not in names]
    if missing or others:
        found = f"no costs of {_listed(missing)}" if missing else f"also {_listed(others)}"
        raise _error("other layers", f"{len(names)} layers: {_listed(names)}", found)
    for layer in layers:
        shapes = tuple(place.surroundings.shape for place in layer.places)
        if known[layer.name] != shapes:
            raise _error(
                f"other inputs of {shown(layer.name)}",
                _shapes(shapes),
                _shapes(known[layer.name]),
            )
        lacking = set(layer.pairs) - set(costs.pairs(layer.name))
        if lacking:
            pairs = ", ".join(map(str, sorted(lacking)))
            raise _error(f"no {pairs} at {shown(layer.name)}", f"a cost of {pairs}", "others only")


def _listed(names: Sequence[str]) -> str:
    return printable(listed([name or "the network itself" for name in names], 4))


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) for shape in shapes[:4]) or "no call"


def _error(what: str, expected: str, found: str) -> CostsError:
    return CostsError(
        f"the costs are of another network: {what}",
        expected=expected,
        found=found,
        hint="measure the costs of this network at this input size: leave `costs=` out to do so "
        "here",
    )
