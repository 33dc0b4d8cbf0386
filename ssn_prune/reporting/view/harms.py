"""The harm of single changes by depth: where a network needs its normalizers."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.reporting.figures import NBSP, counted, milliseconds, small
from ssn_prune.reporting.view.searched import delivered
from ssn_prune.searching.results import SearchReport, SingleHarm

_MOST = 160
"""Largest number of dots; more would show no more."""
_MOST_OF_IT = 0.9


@dataclass(frozen=True)
class HarmDot:
    """One layer with another pair.

    Attributes:
        depth: Index of the layer, from 0.
        pair: The other pair.
        harm: The harm of this change alone.
        chosen: Whether the change is part of the chosen network.
        what: Full description, for the tooltip.
    """

    depth: int
    pair: NormalizerPair
    harm: float
    chosen: bool
    what: str


@dataclass(frozen=True)
class Harms:
    """The chart.

    Attributes:
        finding: The result in one sentence.
        how: What a dot means.
        unit: Unit of the harm.
        dots: The dots; chosen ones come last, so that they are drawn on top.
        layers: Number of layers of the network.
    """

    finding: str
    how: str
    unit: str
    dots: tuple[HarmDot, ...]
    layers: int


def harms_of(report: SearchReport) -> Harms | None:
    """The single changes of a search; None if there were none."""
    if not report.singles:
        return None
    chosen = {(change.layer, change.after) for change in delivered(report).changes}
    shown = _thinned(report.singles, chosen)
    dots = [_dot(report, one, (one.layer, one.after) in chosen) for one in shown]
    count = counted(len(report.singles), "single change")
    some = "" if len(shown) == len(report.singles) else f", of which {len(shown)} are shown"
    return Harms(
        _finding(report),
        f"{count}{some}: the upper half of a dot is the new mean, the lower half the new variance; "
        "filled if chosen",
        report.harm_unit,
        tuple(sorted(dots, key=lambda dot: dot.chosen)),
        max(1, report.layers, 1 + max(one.depth for one in shown)),
    )


def _finding(report: SearchReport) -> str:
    """How few layers carry most of the harm, each at its cheapest pair."""
    cheapest: dict[str, SingleHarm] = {}
    for one in report.singles:
        if one.layer not in cheapest or one.saved_ms > cheapest[one.layer].saved_ms:
            cheapest[one.layer] = one
    harms = sorted((max(0.0, one.harm) for one in cheapest.values()), reverse=True)
    total, carried, count = sum(harms), 0.0, 0
    if not total > 0:
        return "No single change does any harm"
    while count < len(harms) and carried < _MOST_OF_IT * total:
        carried += harms[count]
        count += 1
    verb = "carries" if count == 1 else "carry"
    return (
        f"{count} of {counted(len(harms), 'layer')} {verb} {100 * _MOST_OF_IT:.0f}{NBSP}% of the "
        "harm, each at its cheapest pair"
    )


def _thinned(
    singles: tuple[SingleHarm, ...], chosen: set[tuple[str, NormalizerPair]]
) -> list[SingleHarm]:
    """At most ``_MOST`` changes: for each layer the chosen one first, then those that save most."""
    by_layer: dict[str, list[SingleHarm]] = {}
    for one in singles:
        by_layer.setdefault(one.layer, []).append(one)
    for group in by_layer.values():
        group.sort(key=lambda one: ((one.layer, one.after) not in chosen, -one.saved_ms))
    kept: list[SingleHarm] = []
    for rank in range(max(map(len, by_layer.values()))):
        row = [group[rank] for group in by_layer.values() if len(group) > rank]
        room = _MOST - len(kept)
        if len(row) > room:
            return kept + [row[place * len(row) // room] for place in range(room)]
        kept += row
    return kept


def _dot(report: SearchReport, one: SingleHarm, chosen: bool) -> HarmDot:
    before = "not one-hot" if one.before is None else str(one.before)
    unit = f" {report.harm_unit}" if report.has_classes else ""
    what = (
        f"{one.layer}: {before} to {one.after}, harm {small(one.harm)}{unit}, saves "
        f"{milliseconds(one.saved_ms)}"
    )
    return HarmDot(one.depth, one.after, one.harm, chosen, what)
