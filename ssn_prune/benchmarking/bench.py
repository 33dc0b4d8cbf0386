"""bench: files in, costs out."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

from ssn_prune._version import __version__
from ssn_prune.benchmarking.networks import NORM_FREE
from ssn_prune.benchmarking.records import (
    SCHEMA_VERSION,
    BenchOptions,
    BenchReport,
    LayerCost,
    NetworkCost,
)
from ssn_prune.benchmarking.runtime import (
    Feed,
    make_feed,
    peak_memory,
    profile_nodes,
    runner_of,
    time_in_turns,
)
from ssn_prune.onnx_export.loading import load_graph
from ssn_prune.progress import Progress, no_progress

PROFILED_RUNS = 20


@dataclass(frozen=True)
class _File:
    path: Path
    graph: onnx.ModelProto
    feed: Feed


def bench(
    files: Mapping[str, Path],
    options: BenchOptions | None = None,
    *,
    input_size: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None,
    missing: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> BenchReport:
    """Measure ONNX files in ONNX Runtime on the CPU, all in one run, taking turns.

    Args:
        files: By the name to show.
        options: How to measure.
        input_size: Size of one input without the batch, where the files have it dynamic; a tuple
            of sizes for several inputs.
        missing: Networks that could not be exported, for the report.
        progress: Called with the name of each step before it starts.

    Returns:
        The costs. Ratios refer to the network without norms, or to the first file.

    Raises:
        InferenceRuntimeError: A file cannot be read or run.
        ArgumentError: The inputs do not fit a file.
    """
    options = options or BenchOptions()
    sizes = _sizes(input_size)
    opened = {}
    for name, path in files.items():
        graph = load_graph(path)
        opened[name] = _File(path, graph, make_feed(graph, name, options.batch, sizes))
    progress(f"timing {len(files)} networks, {options.runs} runs each")
    runners = {
        name: runner_of(file.path, name, options.threads, file.feed)
        for name, file in opened.items()
    }
    times = time_in_turns(runners, options.runs, options.warmup)
    runners.clear()
    baseline = next((name for name in files if name.endswith(NORM_FREE)), next(iter(files)))
    base = statistics.median(times[baseline])
    networks, layers = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, file in opened.items():
            progress(f"memory and profile of {label}")
            memory = peak_memory(file.path, options.threads, file.feed, folder)
            networks.append(_network_cost(label, file, times[label], base, memory))
            if options.profile:
                layers += _layer_costs(label, file, options, folder)
    return BenchReport(
        schema_version=SCHEMA_VERSION,
        ssn_prune_version=__version__,
        onnxruntime_version=onnxruntime.__version__,
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        options=options,
        baseline=baseline,
        networks=tuple(networks),
        layers=tuple(sorted(layers, key=lambda layer: -layer.milliseconds)),
        missing=dict(missing or {}),
        noisy=any(network.noisy for network in networks),
    )


def _sizes(
    given: tuple[int, ...] | tuple[tuple[int, ...], ...] | None,
) -> list[tuple[int, ...]]:
    several = [size for size in given or () if isinstance(size, tuple)]
    single = tuple(entry for entry in given or () if isinstance(entry, int))
    return several or ([single] if single else [])


def _network_cost(
    name: str, file: _File, seconds: list[float], base: float, memory: int | None
) -> NetworkCost:
    lower, median, upper = (
        statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    )
    return NetworkCost(
        name=name,
        nodes=len(file.graph.graph.node),
        file_bytes=file.path.stat().st_size + _external_bytes(file),
        median_ms=1e3 * median,
        lower_ms=1e3 * lower,
        upper_ms=1e3 * upper,
        ratio=median / base,
        memory_bytes=memory,
    )


def _external_bytes(file: _File) -> int:
    locations = {
        entry.value
        for tensor in file.graph.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sum((file.path.parent / location).stat().st_size for location in locations)


def _layer_costs(name: str, file: _File, options: BenchOptions, folder: Path) -> list[LayerCost]:
    """Costs of the layers that a converted file names in its metadata."""
    stored = {item.key: item.value for item in file.graph.metadata_props}
    selection = json.loads(stored.get("ssn_prune.selection", "{}"))
    if not selection:
        return []
    spent = profile_nodes(file.path, options.threads, file.feed, PROFILED_RUNS, folder)
    total = sum(spent.values())
    costs = []
    for layer, chosen in selection.items():
        own = [ms for node, ms in spent.items() if node.startswith(f"{layer}/")]
        if own:
            mean, var = (
                choice if isinstance(choice, str) else "mixed"
                for choice in (chosen["mean"], chosen["var"])
            )
            form, share = chosen["form"], sum(own) / total
            costs.append(LayerCost(name, layer, mean, var, form, len(own), sum(own), share))
    return costs


def processor_name() -> str:
    """Name of the machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
