"""The network before and after, and warnings about what changed or escaped the analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.text import escape, plain
from ssn_prune.reporting.figures import counted, size
from ssn_prune.text import listed, shortened
from ssn_prune.torch_export.results import TorchProgramStats

if TYPE_CHECKING:
    from ssn_prune.pruning.results import RoundedGates
    from ssn_prune.report import ConversionReport


def totals_table(report: ConversionReport) -> Table:
    """Counts before and after the conversion."""
    table = Table(title="Before and after", title_justify="left")
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right", min_width=12)
    before, after, onnx = report.before, report.after, report.onnx
    if before is not None and after is not None:
        table.add_row("parameters", f"{before.parameters:,}", f"{after.parameters:,}")
        counts = [
            "-" if stats.operators is None else str(sum(stats.operators.values()))
            for stats in (before, after)
        ]
        table.add_row("operators (ATen)", *counts)
    if onnx is not None:
        table.add_row("ONNX nodes", "", str(onnx.nodes))
        kinds = sorted(onnx.operators.items(), key=lambda item: -item[1])
        table.add_row("by kind", "", ", ".join(f"{kind} {count}" for kind, count in kinds))
        if onnx.passes:
            fired = ", ".join(f"{entry.code} {entry.count}" for entry in onnx.passes)
            table.add_row("passes that fired", "", fired)
        table.add_row("file", "", plain(size(onnx.bytes)))
    if isinstance(report.exported, TorchProgramStats):
        _add_program(table, report.exported)
    folded = sum(layer.fold is not None for layer in report.layers)
    gone = sum(layer.form == "Identity" for layer in report.layers)
    table.add_row("switchable layers", str(len(report.layers)), "0")
    table.add_row("  with a fold / gone entirely", "", f"{folded} / {gone}")
    return table


def _add_program(table: Table, program: TorchProgramStats) -> None:
    """Rows for a torch program."""
    table.add_row("calls in the program", "", str(program.nodes))
    kinds = sorted(program.operators.items(), key=lambda item: -item[1])
    table.add_row("by operator", "", ", ".join(f"{kind} {count}" for kind, count in kinds))
    table.add_row("file", "", plain(size(program.bytes)))
    needs = " and ".join((f"torch {program.torch_version}", *program.libraries))
    table.add_row("written by", "", needs)


def capture_lines(report: ConversionReport) -> list[str]:
    """What is not in the graph, and what the network assumes of input sizes; usually nothing."""
    lines = []
    left_out = getattr(report.onnx or report.exported, "left_out", ())
    if left_out:
        named = escape(", ".join(left_out))
        lines.append(f"[yellow]left out[/] of the file, because they are not tensors: {named}")
    if report.capture_error is not None:
        parts = ", ".join(report.captured_parts) or "none"
        lines.append(
            f"[yellow]captured in parts[/]: {escape(parts)}; layers elsewhere are replaced, not "
            f"folded ({escape(report.capture_error)})"
        )
    if report.size_conditions:
        shown = "; ".join(map(shortened, report.size_conditions[:3]))
        more = len(report.size_conditions) - 3
        rest = f" and {more} more" if more > 0 else ""
        lines.append(f"[dim]the network's code assumes of its inputs: {escape(shown)}{rest}[/]")
    return lines


def misread_lines(report: ConversionReport) -> list[str]:
    """What runtimes other than ONNX Runtime get wrong in the file; usually nothing."""
    lines = []
    for entry in () if report.onnx is None else report.onnx.misread:
        places = escape(listed(entry.modules, 3))
        cure = "" if entry.target is None else f"; convert with --target {entry.target} for it"
        lines.append(
            f"[yellow]{entry.runtime} misreads[/] without an error: {entry.what} in {places}{cure}"
        )
    return lines


def one_position_lines(report: ConversionReport) -> list[str]:
    """Layers that use IN over a single position; usually none."""
    names = [
        layer.name
        for layer in report.layers
        if layer.positions == 1 and (layer.mean.ratios["IN"] or layer.var.ratios["IN"])
    ]
    if not names:
        return []
    return [
        f"[yellow]IN over one position[/]: {escape(listed(names, 4))}; the mean is the value "
        "itself and the variance is 0 there. Networks train better with normalizers=('LN', 'BN') "
        "in such layers"
    ]


def rounded_line(rounded: RoundedGates) -> str:
    """How rounding the gates changed the outputs."""
    agreement = rounded.top1_agreement
    share = f", top-1 agreement {agreement:.1%}" if agreement is not None else ""
    relative = rounded.max_error / rounded.scale if rounded.scale else float("inf")
    return (
        f"[yellow]rounded[/] the gates of {counted(len(rounded.layers), 'layer')}: outputs change "
        f"by {rounded.max_error:.3g} ({relative:.1%} of scale){share}, measured on noise"
    )
