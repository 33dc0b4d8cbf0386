"""Everything that is printed: tables and messages for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from ssn_prune.benchmarking.records import BenchReport
    from ssn_prune.pruning.results import GateReport, LayerReport, RoundedGates
    from ssn_prune.report import ConversionReport
    from ssn_prune.training.gate_traces import GateTrace
    from ssn_prune.verification.results import VerificationReport


class Output:
    """Where a command's results go.

    Args:
        as_json: Print one JSON document on stdout and nothing else there.
        quiet: Print no tables and no progress; errors and JSON still appear.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        # Tables must survive a pipe: without a terminal, rich would wrap at 80 columns.
        width = None if sys.stdout.isatty() else 160
        self.out = Console(width=width, highlight=False)
        width = None if sys.stderr.isatty() else 160
        # This very file: while torch traces, sys.stderr is another one.
        self.err = Console(file=sys.stderr, width=width, highlight=False, soft_wrap=True)

    @property
    def talks(self) -> bool:
        """Whether tables and messages for people are wanted."""
        return not (self.as_json or self.quiet)

    def json(self, value: Any) -> None:
        """Print a JSON document on stdout."""
        sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")

    def message(self, text: str) -> None:
        """Print a line for people; markup is rendered."""
        if self.talks:
            self.out.print(text)

    def table(self, table: Table) -> None:
        """Print a table for people."""
        if self.talks:
            self.out.print(table)

    def error(self, title: str, details: dict[str, str]) -> None:
        """Print an error on stderr: what is wrong, expected, found, what to try."""
        self.err.print(f"[bold red]error:[/] {escape(title)}")
        for label, text in details.items():
            self.err.print(f"  [bold]{label}:[/] {escape(text)}")

    @contextmanager
    def steps(self) -> Iterator[Callable[[str], None]]:
        """Show the current step of a long operation on stderr, if that is a terminal."""
        if not self.talks or not self.err.is_terminal:
            yield lambda _step: None
            return
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.err,
            transient=True,
        ) as progress:
            task = progress.add_task("starting", total=None)
            yield lambda step: progress.update(task, description=escape(step))

    @contextmanager
    def bar(self, description: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Show a progress bar; the function given takes (done, note)."""
        if not self.talks:
            yield lambda _done, _note: None
            return
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.out,
        ) as progress:
            task = progress.add_task(description, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)


def selection_table(layers: tuple[LayerReport, ...], title: str = "Selection") -> Table:
    """The table per layer; fold columns appear once there is a plan."""
    planned = any(layer.form is not None for layer in layers)
    table = Table(title=title, title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("mean", no_wrap=True)
    table.add_column("variance", no_wrap=True)
    table.add_column("converged", no_wrap=True)
    if planned:
        table.add_column("becomes", no_wrap=True)
        table.add_column("folded into, or why not")
    for layer in layers:
        positions = "" if layer.positions is None else f" x {layer.positions}"
        converged = "[green]yes[/]" if layer.converged else "[yellow]no[/]"
        channels = "?" if layer.channels is None else layer.channels
        cells = [escape(layer.name), f"{channels}{positions}"]
        cells += [_gate(layer.mean), _gate(layer.var), converged]
        if planned:
            cells += [layer.form or "", _fold(layer)]
        table.add_row(*cells)
    return table


def _gate(gate: GateReport) -> str:
    if gate.converged:
        return gate.choice
    ratios = " ".join(f"{name} {ratio:.3f}" for name, ratio in gate.ratios.items())
    return f"[yellow]{ratios}[/]"


def _fold(layer: LayerReport) -> str:
    if layer.folded_into is not None:
        return f"[green]{escape(layer.folded_into)}[/]: {layer.folded}"
    return f"[dim]{escape(layer.reason or '')}[/]"


def history_table(traces: tuple[GateTrace, ...]) -> Table:
    """Every gate over the training, from left to right."""
    table = Table(
        title="Gate history: i IN, l LN, b BN leads; capitals: one-hot", title_justify="left"
    )
    for name in ("layer", "gate", "over the training", "final at step", "changes"):
        table.add_column(name, no_wrap=True)
    colours = {"i": "cyan", "l": "magenta", "b": "green"}
    for trace in traces:
        painted = "".join(f"[{colours[letter.lower()]}]{letter}[/]" for letter in trace.line)
        decided = "open" if trace.decided_at is None else str(trace.decided_at)
        table.add_row(escape(trace.layer), trace.gate, painted, decided, str(trace.changes))
    return table


def unconverged_table(layers: tuple[LayerReport, ...]) -> Table:
    """Ratios and radius of the layers that are not finished."""
    table = Table(title="Unfinished gates", title_justify="left")
    for name in ("layer", "kind", "radius", "mean gate", "variance gate"):
        table.add_column(name, no_wrap=True)
    for layer in layers:
        if not layer.converged:
            radius = "-" if layer.radius is None else f"{layer.radius:.4f}"
            cells = [escape(layer.name), layer.kind, radius]
            table.add_row(*cells, _gate(layer.mean), _gate(layer.var))
    return table


def totals_table(report: ConversionReport) -> Table:
    """Counts before and after."""
    table = Table(title="Before and after", title_justify="left")
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
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
        table.add_row("by kind", "", "\n".join(f"{kind} {count}" for kind, count in kinds))
        if onnx.passes:
            fired = ", ".join(f"{entry.code} {entry.count}" for entry in onnx.passes)
            table.add_row("passes that fired", "", fired)
        table.add_row("file", "", f"{onnx.bytes / 1e6:.2f} MB")
    folded = sum(layer.folded is not None for layer in report.layers)
    gone = sum(layer.form == "Identity" for layer in report.layers)
    table.add_row("switchable layers", str(len(report.layers)), "0")
    table.add_row("  with a fold / gone entirely", "", f"{folded} / {gone}")
    return table


def capture_lines(report: ConversionReport) -> list[str]:
    """What the analysis could not see, and what it supposes of input sizes; mostly nothing."""
    lines = []
    if report.capture_error is not None:
        parts = ", ".join(report.captured_parts) or "none"
        lines.append(
            f"[yellow]captured in parts[/]: {escape(parts)}; layers elsewhere are replaced, not "
            f"folded ({escape(report.capture_error)})"
        )
    if report.size_conditions:
        shown = "; ".join(report.size_conditions[:3])
        more = len(report.size_conditions) - 3
        rest = f" and {more} more" if more > 0 else ""
        lines.append(f"[dim]the network's code supposes of its inputs: {escape(shown)}{rest}[/]")
    return lines


def verification_lines(report: VerificationReport) -> list[str]:
    """One line per check; errors stand beside the original's own."""
    lines = []
    if (algebra := report.algebra) is not None:
        lines.append(
            f"{_mark(algebra.passed)} algebra: float64 output differs by "
            f"{algebra.output_error:.1e} of scale, worst layer {algebra.worst_layer} by "
            f"{algebra.worst_layer_error:.1e} (allowed {algebra.tolerance:.0e})"
        )
    if (rounding := report.rounding) is not None:
        top1 = rounding.top1_agreement
        lines.append(
            f"{_mark(rounding.passed)} rounding: ONNX Runtime is off by {rounding.max_error:.2e}, "
            f"the original in float32 by {rounding.original_float32_error:.2e} (allowed "
            f"{rounding.bound:.2e}) over {rounding.inputs} inputs"
            + (f"; top-1 agreement {top1:.0%}" if top1 is not None else "")
        )
    if not lines:
        lines.append("[yellow]not verified[/]: both checks were switched off")
    return lines


def _mark(passed: bool) -> str:
    return "[green]passed[/]" if passed else "[red]FAILED[/]"


def rounded_line(rounded: RoundedGates) -> str:
    """What rounding unfinished gates did to the outputs."""
    agreement = rounded.top1_agreement
    share = f", top-1 agreement {agreement:.1%}" if agreement is not None else ""
    relative = rounded.max_error / rounded.scale if rounded.scale else float("inf")
    return (
        f"[yellow]rounded[/] the gates of {len(rounded.layers)} layers: outputs change by "
        f"{rounded.max_error:.3g} ({relative:.1%} of scale){share}, measured on noise"
    )


_LAYERS_SHOWN = 20


def bench_table(report: BenchReport) -> Table:
    """Latency and memory of every network."""
    options = report.options
    title = f"ONNX Runtime {report.onnxruntime_version}, {options.threads} thread(s), batch "
    title += f"{options.batch}, {options.runs} runs taking turns"
    table = Table(title=title, title_justify="left")
    table.add_column("network", no_wrap=True)
    for name in ("nodes", "file", "median", "quartiles", "ratio", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for network in report.networks:
        memory = network.memory_bytes
        table.add_row(
            escape(network.name),
            str(network.nodes),
            f"{network.file_bytes / 1e6:.1f} MB",
            f"{network.median_ms:.2f} ms",
            f"{network.lower_ms:.2f} to {network.upper_ms:.2f}",
            f"{network.ratio:.2f}",
            "" if memory is None else f"{memory / 1e6:.0f} MB",
        )
    return table


def layer_cost_table(report: BenchReport) -> Table:
    """What each normalizer still costs, the most expensive first."""
    table = Table(title="Normalizers that are left", title_justify="left")
    for name in ("network", "layer", "mean", "variance", "form"):
        table.add_column(name, no_wrap=True)
    for name in ("nodes", "time", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in report.layers[:_LAYERS_SHOWN]:
        cells = (cost.network, cost.layer, cost.mean, cost.var, cost.form)
        figures = (str(cost.nodes), f"{cost.milliseconds:.3f} ms", f"{cost.share:.1%}")
        table.add_row(*map(escape, cells), *figures)
    return table


def bench_lines(report: BenchReport) -> list[str]:
    """What else there is to say about a benchmark."""
    lines = [f"ratios refer to {escape(report.baseline)}"]
    hidden = report.layers[_LAYERS_SHOWN:]
    if hidden:
        spent = sum(cost.milliseconds for cost in hidden)
        lines.append(f"{len(hidden)} more normalizers take {spent:.3f} ms (--json lists them)")
    lines += [f"no {name} network: {escape(reason)}" for name, reason in report.missing.items()]
    if report.noisy:
        lines.append(
            "[yellow]the machine is noisy[/]: quartiles are over 10% of the median apart; close "
            "other programs, or raise --runs"
        )
    return lines
