"""What every layer selected and became."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.text import escape

if TYPE_CHECKING:
    from ssn_prune.pruning.results import GateReport, LayerReport


# Of gates that are not frozen.
_DEFINITIONS = {None: "softmax", "paper": "paper", "reference": "reference code"}


def selection_table(layers: tuple[LayerReport, ...], title: str = "Selection") -> Table:
    """The table per layer; fold columns appear once there is a plan."""
    planned = any(layer.form is not None for layer in layers)
    table = Table(title=escape(title), title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("mean", no_wrap=True)
    table.add_column("variance", no_wrap=True)
    table.add_column("one-hot", no_wrap=True)
    if planned:
        table.add_column("becomes", no_wrap=True)
        table.add_column("folded into, or why not")
    for layer in layers:
        positions = "" if layer.positions is None else f" x {layer.positions}"
        one_hot = "[green]yes[/]" if layer.converged else "[yellow]no[/]"
        channels = "?" if layer.channels is None else layer.channels
        cells = [escape(layer.name), f"{channels}{positions}"]
        cells += [_gate(layer.mean), _gate(layer.var), one_hot]
        if planned:
            cells += [layer.form or "", _fold(layer)]
        table.add_row(*cells)
    return table


def _gate(gate: GateReport) -> str:
    if gate.converged:
        return gate.choice
    ratios = " ".join(f"{name} {ratio:.3f}" for name, ratio in gate.ratios.items())
    return f"[yellow]{ratios}[/]" if gate.on_simplex else f"[red]{ratios}[/]"


def _fold(layer: LayerReport) -> str:
    if layer.folded_into is not None:
        return f"[green]{escape(layer.folded_into)}[/]: {layer.fold_title}"
    return f"[dim]{escape(layer.reason or '')}[/]"


def unconverged_table(layers: tuple[LayerReport, ...]) -> Table:
    """Ratios, radius and definition of the layers with a gate that is not one-hot."""
    table = Table(title="Gates that are not one-hot", title_justify="left")
    for name in ("layer", "kind", "radius", "definition", "mean gate", "variance gate"):
        table.add_column(name, no_wrap=True)
    for layer in layers:
        if not layer.converged:
            radius = "-" if layer.radius is None else f"{layer.radius:.4f}"
            cells = [escape(layer.name), layer.kind, radius, _DEFINITIONS[layer.gate_definition]]
            table.add_row(*cells, _gate(layer.mean), _gate(layer.var))
    return table


def off_simplex_lines(layers: tuple[LayerReport, ...]) -> list[str]:
    """The gates of which the reference code makes no ratios; usually none."""
    left = [
        f"{escape(layer.name)} ({kind} gate)"
        for layer in layers
        for kind, gate in (("mean", layer.mean), ("variance", layer.var))
        if not gate.on_simplex
    ]
    if not left:
        return []
    return [
        f"[red]not ratios[/]: the reference code's SparsestMax leaves the simplex at "
        f"{', '.join(left)}; convert takes --on-unconverged argmax only"
    ]
