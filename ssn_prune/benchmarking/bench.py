"""Measure latency, memory and the cost of the remaining normalizers of exported files."""

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
from ssn_prune.errors import ArgumentError
from ssn_prune.export_formats import Measurement, format_of
from ssn_prune.progress import Progress, no_progress
from ssn_prune.runtime.process import RuntimeProcess, runtime_process
from ssn_prune.runtime.providers import CPU, provider_named
from ssn_prune.runtime.stored_metadata import StoredLayer
from ssn_prune.runtime.trust import Trust
from ssn_prune.text import printable

PROFILED_RUNS = 20


@dataclass(frozen=True)
class _File:
    """A file that has been opened and run once.

    Attributes:
        path: Where it is.
        measurement: How files of its format are measured.
        version: Version of the runtime.
        nodes: Number of ONNX nodes, or of calls in a torch program.
        bytes: Its size, with external data.
        inputs: Its inputs, for the process that runs it.
        layers: What its layers selected; empty if not asked for or not recorded in the file.
        provider: The execution provider that its session reports; None in torch.
        target: The runtime that it was written for; None if it does not say.
    """

    path: Path
    measurement: Measurement
    version: str
    nodes: int
    bytes: int
    inputs: list[dict[str, Any]]
    layers: tuple[StoredLayer, ...]
    provider: str | None
    target: str | None


def bench(
    files: Mapping[str, Path],
    options: BenchOptions | None = None,
    *,
    input_size: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None,
    missing: Mapping[str, str] | None = None,
    trust: Trust | None = None,
    progress: Progress = no_progress,
) -> BenchReport:
    """Measure files, each in its runtime, in interleaved runs.

    Args:
        files: Files by the name to show.
        options: How to measure.
        input_size: Size of one input without the batch, for files whose sizes are dynamic; a tuple
            of sizes for several inputs.
        missing: Networks that could not be exported, for the report.
        trust: Which torch programs may be opened; by default none.
        progress: Called with the name of each step before it starts.

    Returns:
        The costs. Ratios are relative to the network without norms, or else to the first file.

    Raises:
        InferenceRuntimeError: A file cannot be read or run.
        ArgumentError: The inputs do not fit a file; the timeout is not positive; the execution
            provider is not installed or does not work; or a format cannot be measured, or not on
            this provider.
        UntrustedFileError: A file is a torch program that nothing vouches for.
    """
    options, trust = options or BenchOptions(), trust or Trust()
    provider = provider_named(options.provider)
    plans = {name: _planned(path, options, trust) for name, path in files.items()}
    limited = provider == CPU and not any(format_of(path).executes for path in files.values())
    sizes = _sizes(input_size)
    progress(f"timing {len(files)} networks, {options.runs} runs each")
    with runtime_process(options.timeout, limited=limited) as process:
        opened = {
            name: _opened(process, name, files[name], plan, options, sizes)
            for name, plan in plans.items()
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
            alone = provider == CPU and not format_of(files[label]).executes
            with runtime_process(options.timeout, limited=alone) as process:
                process.runtime = file.measurement.runtime
                how = plans[label].how | {"inputs": file.inputs}
                memory, _ = process.call(file.measurement.memory, label, how)
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
        provider=next((f.provider for f in opened.values() if f.provider), provider),
    )


@dataclass(frozen=True)
class _Planned:
    """How a file is measured.

    Attributes:
        measurement: The actions of its format.
        how: The arguments of all these actions.
        add: Further arguments for opening the file.
    """

    measurement: Measurement
    how: dict[str, Any]
    add: dict[str, Any]


def _planned(path: Path, options: BenchOptions, trust: Trust) -> _Planned:
    file_format = format_of(path)
    measurement, provider = file_format.measurement, provider_named(options.provider)
    how = {"path": os.path.abspath(path), "threads": options.threads}
    if measurement is None or (file_format.provider is None and provider != CPU):
        raise ArgumentError(
            f"{printable(path.name)} cannot be measured on {provider}",
            expected="ONNX files, which ONNX Runtime runs, or the CPU",
            found=f"a file in the format {file_format.name}",
            hint="leave the file out, or leave `provider=` out",
        )
    if file_format.executes:
        how["allowed"] = trust.allowed(path.name)
        return _Planned(measurement, how, {})
    return _Planned(measurement, how | {"provider": provider}, {"layers": options.profile})


def _opened(
    process: RuntimeProcess,
    name: str,
    path: Path,
    plan: _Planned,
    options: BenchOptions,
    sizes: list[tuple[int, ...]],
) -> _File:
    """Have the process open a file and run it once."""
    process.seconds_left, process.runtime = options.timeout, plan.measurement.runtime
    inputs = {"batch": options.batch, "sizes": sizes}
    found, _ = process.call(plan.measurement.add, name, plan.how | plan.add | inputs)
    return _File(
        path=path,
        measurement=plan.measurement,
        version=found["version"],
        nodes=found["nodes"],
        bytes=found["bytes"],
        inputs=found["inputs"],
        layers=tuple(StoredLayer(**layer) for layer in found.get("layers", ())),
        provider=found.get("provider"),
        target=found.get("target"),
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
        nodes=file.nodes,
        file_bytes=file.bytes,
        median_ms=1e3 * median,
        lower_ms=1e3 * lower,
        upper_ms=1e3 * upper,
        ratio=median / base,
        memory_bytes=memory,
        target=file.target,
        runtime=f"{file.measurement.runtime} {file.version}",
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
