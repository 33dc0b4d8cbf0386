"""bench: files in, costs out."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from ssn_prune._version import __version__
from ssn_prune.benchmarking.records import (
    NORM_FREE,
    SCHEMA_VERSION,
    BenchOptions,
    BenchReport,
    LayerCost,
    NetworkCost,
)
from ssn_prune.environment import processor_name
from ssn_prune.progress import Progress, no_progress
from ssn_prune.runtime.process import RuntimeProcess, runtime_process
from ssn_prune.runtime.providers import CPU, provider_named
from ssn_prune.runtime.stored_metadata import StoredLayer

PROFILED_RUNS = 20


@dataclass(frozen=True)
class _File:
    """A file that has been opened and run once.

    Attributes:
        path: Where it is.
        nodes: ONNX nodes.
        bytes: Its size, with external data.
        inputs: What it is given, for the process that runs it.
        layers: What its layers selected; none if they are not asked for or not said.
        provider: The execution provider that its session names.
        target: The runtime that it is for; None if it does not say.
    """

    path: Path
    nodes: int
    bytes: int
    inputs: list[dict[str, Any]]
    layers: tuple[StoredLayer, ...]
    provider: str
    target: str | None


def bench(
    files: Mapping[str, Path],
    options: BenchOptions | None = None,
    *,
    input_size: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None,
    missing: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> BenchReport:
    """Measure ONNX files in ONNX Runtime, all in one run, taking turns.

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
        ArgumentError: The inputs do not fit a file, the timeout is no positive number, or the
            execution provider is not installed or does not work.
    """
    options = options or BenchOptions()
    provider = provider_named(options.provider)
    limited = provider == CPU
    sizes = _sizes(input_size)
    progress(f"timing {len(files)} networks, {options.runs} runs each")
    with runtime_process(options.timeout, limited=limited) as process:
        opened = {
            name: _opened(process, name, path, options, sizes) for name, path in files.items()
        }
        process.seconds_left = options.timeout * len(files)
        label, turns = ", ".join(files), {"runs": options.runs, "warmup": options.warmup}
        times, _ = process.call("time", label, turns)
    baseline = next((name for name in files if name.endswith(NORM_FREE)), next(iter(files)))
    base = statistics.median(times[baseline])
    networks, layers = [], []
    with tempfile.TemporaryDirectory() as name:
        for label, file in opened.items():
            progress(f"memory and profile of {label}")
            with runtime_process(options.timeout, limited=limited) as process:
                how = _how(file.path, options) | {"inputs": file.inputs}
                memory, _ = process.call("memory", label, how)
                networks.append(_network_cost(label, file, times[label], base, memory))
                if file.layers:
                    process.seconds_left = options.timeout
                    how |= {"runs": PROFILED_RUNS, "folder": name}
                    layers += _layer_costs(label, file, process.call("profile", label, how)[0])
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
        provider=next(iter(opened.values())).provider,
    )


def _opened(
    process: RuntimeProcess,
    name: str,
    path: Path,
    options: BenchOptions,
    sizes: list[tuple[int, ...]],
) -> _File:
    """Have the process open a file and run it once."""
    process.seconds_left = options.timeout
    inputs = {"batch": options.batch, "sizes": sizes, "layers": options.profile}
    found, _ = process.call("add", name, _how(path, options) | inputs)
    layers = tuple(StoredLayer(**layer) for layer in found["layers"])
    described = {k: found[k] for k in ("nodes", "bytes", "inputs", "provider", "target")}
    return _File(path, layers=layers, **described)


def _how(path: Path, options: BenchOptions) -> dict[str, Any]:
    provider = provider_named(options.provider)
    return {"path": os.path.abspath(path), "threads": options.threads, "provider": provider}


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
        nodes=file.nodes,
        file_bytes=file.bytes,
        median_ms=1e3 * median,
        lower_ms=1e3 * lower,
        upper_ms=1e3 * upper,
        ratio=median / base,
        memory_bytes=memory,
        target=file.target,
    )


def _layer_costs(name: str, file: _File, spent: dict[str, float]) -> list[LayerCost]:
    """Costs of the layers that a converted file names in its metadata."""
    total = sum(spent.values())
    costs = []
    for layer in file.layers:
        own = [ms for node, ms in spent.items() if node.startswith(f"{layer.name}/")]
        if own and total > 0:
            share = sum(own) / total
            what = (layer.name, layer.mean, layer.var, layer.form)
            costs.append(LayerCost(name, *what, len(own), sum(own), share))
    return costs
