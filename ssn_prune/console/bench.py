"""Latencies of networks, and the cost of their normalizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ssn_prune.console.text import escape, plain
from ssn_prune.reporting.figures import size

if TYPE_CHECKING:
    from ssn_prune.benchmarking.records import BenchReport


_LAYERS_SHOWN = 20


def bench_table(report: BenchReport) -> Table:
    """Latency and memory of every network."""
    options = report.options
    title = f"ONNX Runtime {report.onnxruntime_version}, {report.provider}, {options.threads} "
    title += f"thread(s), batch {options.batch}, {options.runs} interleaved runs"
    table = Table(title=title, title_justify="left")
    table.add_column("network", no_wrap=True)
    for name in ("nodes", "file", "median", "quartiles", "ratio", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for network in report.networks:
        memory = network.memory_bytes
        table.add_row(
            escape(network.name + _purpose(network.target) + _elsewhere(network.runtime)),
            str(network.nodes),
            plain(size(network.file_bytes)),
            f"{network.median_ms:.2f} ms",
            f"{network.lower_ms:.2f} to {network.upper_ms:.2f}",
            f"{network.ratio:.2f}",
            "" if memory is None else f"{memory / 1e6:.0f} MB",
        )
    return table


def _purpose(target: str | None) -> str:
    return "" if target in (None, "portable") else f", for {target}"


def _elsewhere(runtime: str | None) -> str:
    """The runtime of a network, unless it is ONNX Runtime, which the title names."""
    return "" if runtime is None or runtime.startswith("ONNX") else f", in {runtime}"


def layer_cost_table(report: BenchReport) -> Table:
    """The cost of each remaining normalizer, the most expensive first."""
    table = Table(title="Remaining normalizers", title_justify="left")
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
    """Further remarks on a benchmark."""
    lines = [f"ratios are relative to {escape(report.baseline)}"]
    hidden = report.layers[_LAYERS_SHOWN:]
    if hidden:
        spent = sum(cost.milliseconds for cost in hidden)
        lines.append(f"{len(hidden)} more normalizers take {spent:.3f} ms (--json lists them)")
    lines += [f"no {name} network: {escape(reason)}" for name, reason in report.missing.items()]
    if report.noisy:
        lines.append(
            "[yellow]the machine is noisy[/]: the quartiles are more than 10% of the median "
            "apart; close other programs, or raise --runs"
        )
    return lines
