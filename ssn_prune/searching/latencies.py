"""Latencies of whole files, measured in interleaved runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ssn_prune.benchmarking.networks import without_norms
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.steps import export_options, prune_loaded
from ssn_prune.costs.records import Costs
from ssn_prune.errors import ExportError, SearchError
from ssn_prune.example_inputs import example_inputs
from ssn_prune.onnx_export.exporter import export_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.progress import Progress
from ssn_prune.runtime.process import runtime_process
from ssn_prune.runtime.providers import CPU
from ssn_prune.searching.results import SearchOptions

NORM_FREE = "norm-free"


@dataclass(frozen=True)
class Latency:
    """The latency of one file, in milliseconds.

    Attributes:
        lower: First quartile.
        median: Median.
        upper: Third quartile.
    """

    lower: float
    median: float
    upper: float


def require_norm_free(costs: Costs, loaded: LoadedCheckpoint, how: ConvertOptions) -> None:
    """Refuse costs without the latency of the network without norms, which all others refer to.

    Raises:
        SearchError: There is none. The error says why the network cannot be exported without norms,
            if that is the reason.
    """
    if costs.norm_free_ms is not None:
        return
    inputs = example_inputs(loaded, how.fixed_batch)
    with TemporaryDirectory() as folder:
        try:
            _export_norm_free(loaded, inputs.export, how, Path(folder) / "norm-free.onnx")
        except ExportError as error:
            raise SearchError(
                "latencies are compared with that of the network without norms, which cannot be "
                "exported",
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error
    raise SearchError(
        "the costs do not say how long the network takes without norms",
        expected="costs of a network that can be exported without its norms",
        found="none",
        hint="leave `costs=` out, which measures them here",
    )


def _export_norm_free(
    loaded: LoadedCheckpoint, inputs: tuple[Any, ...], how: ConvertOptions, path: Path
) -> None:
    options = ExportOptions(target=how.target, opset=how.opset, dynamic=how.dynamic_axes)
    with torch.no_grad():
        export_onnx(without_norms(loaded.model), inputs, path, options=options)


def whole_latencies(
    loaded: LoadedCheckpoint,
    networks: Mapping[str, nn.Module],
    how: ConvertOptions,
    options: SearchOptions,
    progress: Progress,
) -> dict[str, Latency]:
    """Export networks like a conversion, and measure them together with the one without norms.

    Args:
        loaded: The checkpoint.
        networks: Variants of its network by name.
        how: How the result will be converted; nothing is verified here.
        options: How to measure.
        progress: Called with the name of each step.

    Raises:
        SsnPruneError: A network cannot be exported or run.
    """
    inputs = example_inputs(loaded, how.fixed_batch)
    # Gates that are not one-hot are exported in their weighted form.
    how = replace(how, algebra=False, rounding=False, trust_running_statistics=True)
    with TemporaryDirectory() as folder, torch.no_grad():
        files = {NORM_FREE: Path(folder) / f"{NORM_FREE}.onnx"}
        _export_norm_free(loaded, inputs.export, how, files[NORM_FREE])
        for index, (name, model) in enumerate(networks.items()):
            progress(f"exporting network {index + 1} of {len(networks)} to measure it")
            variant = replace(loaded, model=model, given=None)
            result = prune_loaded(variant, inputs.pruning, how)
            files[name] = Path(folder) / f"{index}.onnx"
            export_onnx(
                result.model,
                inputs.export,
                files[name],
                options=export_options(variant, result, how),
            )
        progress(f"timing {len(files)} networks, {options.runs} runs each")
        times = _times(files, options, [tuple(t.shape[1:]) for t in inputs.export])
    return {name: _latency(seconds) for name, seconds in times.items()}


def _times(
    files: Mapping[str, Path], options: SearchOptions, sizes: list[tuple[int, ...]]
) -> dict[str, list[float]]:
    with runtime_process(600.0, limited=True) as process:
        for name, path in files.items():
            how: dict[str, Any] = {"path": str(path), "threads": options.threads, "provider": CPU}
            process.call(
                "add", name, {**how, "batch": options.batch, "sizes": sizes, "layers": False}
            )
            process.seconds_left = 600.0
        process.seconds_left = 600.0 * len(files)
        found, _ = process.call("time", "networks", {"runs": options.runs, "warmup": 3})
    times: dict[str, list[float]] = found
    return times


def _latency(seconds: list[float]) -> Latency:
    if len(seconds) < 2:
        return Latency(*[1e3 * seconds[0]] * 3)
    return Latency(*(1e3 * value for value in statistics.quantiles(seconds, n=4)))
