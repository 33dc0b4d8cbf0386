"""The costs of the pairs of normalizers at each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.text import escape, path_in_lines
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair

if TYPE_CHECKING:
    from ssn_prune.costs.records import Costs

_BESIDE_NAMES = 9 * 7 + 3


def costs_table(costs: Costs, width: int) -> Table:
    """Milliseconds above BN/BN, one row per layer and one column per pair.

    Args:
        costs: The costs.
        width: Columns of the terminal.
    """
    pairs = [p for p in ALL_PAIRS if any(entry.pair == p for entry in costs.layers)]
    title = "Milliseconds above BN/BN, by pair (mean/variance)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for pair in pairs:
        table.add_column(str(pair), justify="right", no_wrap=True)
    known = {(entry.layer, entry.pair): entry.milliseconds for entry in costs.layers}
    room = max(8, width - _BESIDE_NAMES)
    for shapes in costs.shapes:
        cells = (_cell(known.get((shapes.layer, pair)), pair) for pair in pairs)
        table.add_row(path_in_lines(shapes.layer, room), *cells)
    return table


def _cell(milliseconds: float | None, pair: NormalizerPair) -> str:
    if milliseconds is None:
        return ""
    return "0" if pair.mean.name == pair.var.name == "BN" else f"{max(0.0, milliseconds):.3f}"


def costs_lines(costs: Costs) -> list[str]:
    """Where the costs were measured, and the latency to compare them with."""
    device = f"{costs.runtime}, {costs.provider}, {costs.processor}"
    lines = [escape(f"{device}, {costs.threads} thread(s), batch {costs.batch}")]
    if costs.norm_free_ms is not None:
        dearest: dict[str, float] = {}
        for entry in costs.layers:
            dearest[entry.layer] = max(dearest.get(entry.layer, 0.0), entry.milliseconds)
        share = sum(dearest.values()) / costs.norm_free_ms
        lines.append(
            f"the network without norms takes {costs.norm_free_ms:.2f} ms; the most expensive "
            f"pair at every layer adds {share:.0%}"
        )
    return lines
