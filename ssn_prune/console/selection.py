"""What each layer selected, and what it became."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.normalizers import painted
from ssn_prune.console.text import escape, path_in_lines
from ssn_prune.text import listed

if TYPE_CHECKING:
    from ssn_prune.pruning.results import GateReport, LayerReport
    from ssn_prune.reporting.view.layers import Cell, Layer

# Definitions of gates that are not frozen.
_DEFINITIONS = {None: "softmax", "paper": "paper", "reference": "reference code"}
_BESIDE = 100
"""Terminal columns from which a form and its reason have separate columns."""
_BORDER, _PAD = 1, 3
_NARROWEST = 12

MANY = 40
"""Up to this many layers, a table shows each one; more are summarised unless all are requested."""


def selection_table(layers: Sequence[Layer], width: int) -> Table:
    """One row per layer; the columns depend on the content and on the width.

    Args:
        layers: The layers in the order of their calls.
        width: Columns of the terminal.
    """
    beside = width >= _BESIDE
    shapes = {layer.shape for layer in layers}
    fates = [_fate(layer, beside) for layer in layers]
    columns: list[tuple[str, list[str]]] = [("mean/var", [pair_of(layer) for layer in layers])]
    sizes = [len("mean/var")]
    if beside and shapes != {"?"}:
        columns.append(("shape", [layer.shape for layer in layers]))
        sizes.append(max(map(len, ("shape", *shapes))))
    if beside and any(layer.form for layer in layers):
        columns.append(("becomes", [layer.form or "" for layer in layers]))
        sizes.append(max(len(layer.form or "") for layer in layers))
    told = any(fates)
    taken = sum(sizes) + _PAD * (len(sizes) + 1 + told) + _BORDER
    longest = max((len(layer.name) for layer in layers), default=0)
    room = max(_NARROWEST, (width - taken) // 2 if told else width - taken)
    table = Table()
    table.add_column("layer", no_wrap=True)
    for name, _ in columns:
        table.add_column(name, no_wrap=True, justify="right" if name == "shape" else "left")
    if told:
        table.add_column(
            "folded into, or why not" if beside else "becomes",
            min_width=_NARROWEST,
            overflow="fold",
        )
    for index, layer in enumerate(layers):
        cells = [path_in_lines(layer.name, max(1, min(room, longest)))]
        cells += [column[index] for _, column in columns]
        table.add_row(*cells, *([fates[index]] if told else []))
    return table


def summary_table(layers: Sequence[Layer]) -> Table:
    """One row for all layers that selected the same pair and became the same form."""
    groups: dict[tuple[str, str], list[Layer]] = {}
    for layer in layers:
        groups.setdefault((pair_of(layer), layer.form or ""), []).append(layer)
    planned = any(layer.form for layer in layers)
    table = Table()
    table.add_column("layers", justify="right", no_wrap=True)
    table.add_column("mean/var", no_wrap=True)
    if planned:
        table.add_column("becomes", no_wrap=True)
    table.add_column("which", min_width=_NARROWEST, overflow="fold")
    for (pair, form), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        which = escape(listed([layer.name for layer in group], 3))
        table.add_row(str(len(group)), pair, *([form] if planned else []), which)
    return table


def pair_of(layer: Layer) -> str:
    """Mean and variance in their colours: ``BN/LN``; lower case where not one-hot."""
    return f"{_cell(layer.mean)}/{_cell(layer.var)}"


def _cell(cell: Cell) -> str:
    if not cell.unfinished:
        return painted(cell.normalizer)
    return painted(cell.normalizer, cell.normalizer.lower(), "underline")


def _fate(layer: Layer, beside: bool) -> str:
    """What a layer became and why, except for what has its own column."""
    parts = []
    for name, cell in (("mean", layer.mean), ("variance", layer.var)):
        if cell.ratios is not None:
            parts.append(f"[yellow]{name} {cell.ratios}[/]")
    if layer.form and not beside:
        parts.append(layer.form)
    if layer.fate:
        moved = layer.mean.folded or layer.var.folded
        parts.append(escape(layer.fate) if moved else f"[dim]{escape(layer.fate)}[/]")
    return "; ".join(parts)


def legend_line(forms: dict[str, str]) -> str:
    """What the names of the forms mean."""
    return "[dim]" + "; ".join(f"{name}: {meaning}" for name, meaning in forms.items()) + "[/]"


def unconverged_table(layers: tuple[LayerReport, ...], width: int) -> Table:
    """Ratios, radius and definition of the layers with a gate that is not one-hot."""
    left = [layer for layer in layers if not layer.converged]
    table = Table(title="Gates that are not one-hot", title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    table.add_column("IN, LN, BN", no_wrap=True)
    wide = width >= _BESIDE
    if wide:
        for name in ("kind", "radius", "definition"):
            table.add_column(name, no_wrap=True)
    room = max(_NARROWEST, width - 38)
    for layer in left:
        radius = "-" if layer.radius is None else f"{layer.radius:.4f}"
        more = (layer.kind, radius, _DEFINITIONS[layer.gate_definition]) if wide else ()
        for index, (name, gate) in enumerate((("mean", layer.mean), ("variance", layer.var))):
            title = path_in_lines(layer.name, room) if index == 0 else ""
            table.add_row(title, name, _gate(gate), *(more if index == 0 else ("",) * len(more)))
    return table


def _gate(gate: GateReport) -> str:
    if gate.converged:
        return painted(gate.choice)
    ratios = "  ".join(f"{ratio:.3f}" for ratio in gate.ratios.values())
    return f"[yellow]{ratios}[/]" if gate.on_simplex else f"[red]{ratios}[/]"


def off_simplex_lines(layers: tuple[LayerReport, ...]) -> list[str]:
    """Gates for which the reference code gives values that are not ratios; usually none."""
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
        f"{', '.join(left)}; convert accepts only --on-unconverged argmax"
    ]
