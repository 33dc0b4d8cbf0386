"""measure_costs: a network in, the costs of every pair at every layer out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from torch import nn

from ssn_prune.benchmarking.networks import without_norms
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.costs.cache import Times, TimesCache
from ssn_prune.costs.places import Place, PlacedLayer, find_layers
from ssn_prune.costs.probe_files import export_probes
from ssn_prune.costs.probes import Probe
from ssn_prune.costs.records import (
    FREE,
    SCHEMA_VERSION,
    CostOptions,
    Costs,
    LayerPairCost,
    LayerShapes,
)
from ssn_prune.costs.timing import time_place, typical
from ssn_prune.environment import processor_name
from ssn_prune.errors import ExportError
from ssn_prune.example_inputs import example_batches
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export.exporter import export_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.onnx_export.targets import dynamic_axes
from ssn_prune.progress import Progress, no_progress
from ssn_prune.runtime.process import RuntimeProcess, runtime_process
from ssn_prune.runtime.providers import CPU, provider_named
from ssn_prune.surgery.from_reference import adopt_layers
from ssn_prune.surgery.guest import guest
from ssn_prune.surgery.nested import tensor_leaves

_AT_ONCE = 90
"""Probes in one export."""


def measure_costs(
    loaded: LoadedCheckpoint,
    options: CostOptions | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Costs:
    """Measure what every pair costs at every layer of a checkpoint's network.

    Args:
        loaded: The checkpoint; not changed. Its numbers do not matter.
        options: How to measure.
        cache: Folder of times that are known already, and where new ones go; None for neither.
        progress: Called with the name of each step before it starts.

    Raises:
        SsnPruneError: The network cannot be run, or probes cannot be exported or run.
    """
    options = options or CostOptions()
    inputs = example_batches(loaded, [options.batch])[0]
    return measure_network_costs(loaded.model, inputs, options, cache=cache, progress=progress)


@guest()
def measure_network_costs(
    model: nn.Module,
    example_inputs: tuple[Any, ...],
    options: CostOptions | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Costs:
    """As :func:`measure_costs`, for a network.

    Args:
        model: A network with switchable layers; not changed.
        example_inputs: Inputs of one call, with the batch size of the options.
        options: How to measure.
        cache: As above.
        progress: As above.
    """
    options = options or CostOptions()
    provider = provider_named(options.provider)
    progress("finding the layers")
    adopted = adopt_layers(model).eval()
    layers = find_layers(adopted, example_inputs)
    times = _times(layers, options, provider, cache, progress)
    norm_free = _norm_free(adopted, example_inputs, options, provider, progress)
    return Costs(
        schema_version=SCHEMA_VERSION,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        runtime=f"ONNX Runtime {onnxruntime.__version__}",
        processor=processor_name(),
        provider=provider,
        threads=options.threads,
        batch=options.batch,
        target=options.target,
        input_sizes=tuple(tuple(tensor.shape[1:]) for tensor in tensor_leaves(example_inputs)),
        norm_free_ms=norm_free,
        shapes=tuple(
            LayerShapes(layer.name, tuple(place.surroundings.shape for place in layer.places))
            for layer in layers
        ),
        layers=tuple(_costs(layers, times)),
    )


def _costs(layers: Iterable[PlacedLayer], times: Mapping[Place, Times]) -> Iterable[LayerPairCost]:
    for layer in layers:
        for pair in layer.pairs:
            added = (times[place][pair] - times[place][FREE] for place in layer.places)
            yield LayerPairCost(layer.name, pair, sum(added))


def _times(
    layers: Sequence[PlacedLayer],
    options: CostOptions,
    provider: str,
    cache: Path | None,
    progress: Progress,
) -> dict[Place, Times]:
    """The times of every place, known ones from the cache."""
    stored = TimesCache(cache, _setting(options, provider))
    wanted: dict[Place, list[NormalizerPair]] = {}
    for layer in layers:
        for place in layer.places:
            pairs = wanted.setdefault(place, [])
            pairs += [pair for pair in layer.measured if pair not in pairs]
    times = {place: stored.load(place) for place in wanted}
    missing = {
        place: pairs for place, pairs in wanted.items() if not set(pairs) <= times[place].keys()
    }
    for batch, part in _parts(missing):
        with TemporaryDirectory() as name:
            probes = [Probe(place, pair) for place in part for pair in missing[place]]
            progress(f"exporting {len(probes)} probes of {len(part)} places")
            paths = export_probes(probes, Path(name), target=options.target, static=options.static)
            files = dict(zip(probes, paths, strict=True))
            progress(f"timing {len(probes)} probes")
            with runtime_process(options.timeout, limited=provider == CPU) as process:
                for place in part:
                    own = {pair: files[Probe(place, pair)] for pair in missing[place]}
                    times[place] = time_place(process, own, batch, options, provider)
                    stored.store(place, times[place])
    return times


def _parts(places: Iterable[Place]) -> Iterable[tuple[int, list[Place]]]:
    """Places of one batch size, as many as are exported at once."""
    most = _AT_ONCE // 9

    def batch_of(place: Place) -> int:
        return place.surroundings.shape[0]

    for batch, group in groupby(sorted(places, key=batch_of), batch_of):
        alike = list(group)
        for start in range(0, len(alike), most):
            yield batch, alike[start : start + most]


def _setting(options: CostOptions, provider: str) -> dict[str, Any]:
    return {
        "runtime": f"ONNX Runtime {onnxruntime.__version__}",
        "torch": torch.__version__,
        "processor": processor_name(),
        "provider": provider,
        "threads": options.threads,
        "target": options.target,
        "static": options.static,
    }


def _norm_free(
    model: nn.Module,
    inputs: tuple[Any, ...],
    options: CostOptions,
    provider: str,
    progress: Progress,
) -> float | None:
    """Milliseconds of the network without norms; None if it cannot be exported."""
    progress("timing the network without norms")
    dynamic = dynamic_axes(options.target, "none" if options.static else None)
    how = ExportOptions(target=options.target, dynamic=dynamic)
    if dynamic != "none" and options.batch == 1:
        inputs = _doubled(inputs)  # one sample would fix the batch size
    with TemporaryDirectory() as name:
        path = Path(name) / "norm-free.onnx"
        try:
            with torch.no_grad():
                export_onnx(without_norms(model), inputs, path, options=how)
        except ExportError:
            return None
        with runtime_process(options.timeout, limited=provider == CPU) as process:
            return _time_alone(process, path, options, provider)


def _doubled(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        torch.cat((value, value)) if isinstance(value, torch.Tensor) else value for value in inputs
    )


def _time_alone(process: RuntimeProcess, path: Path, options: CostOptions, provider: str) -> float:
    how = {"path": str(path), "threads": options.threads, "provider": provider}
    process.call("add", path.name, {**how, "batch": options.batch, "sizes": [], "layers": False})
    times, _ = process.call("time", path.name, {"runs": options.runs, "warmup": 3})
    return 1e3 * typical(times[path.name])
