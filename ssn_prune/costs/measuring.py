"""Measure the cost of every pair of normalizers at every layer of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from torch import nn

from ssn_prune._version import __version__
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.costs.cache import Times, TimesCache
from ssn_prune.costs.places import Place, PlacedLayer, find_layers, input_sizes, pairs_by_place
from ssn_prune.costs.probe_files import export_places, export_without_norms, in_parts
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
from ssn_prune.example_inputs import example_batches
from ssn_prune.progress import Progress, no_progress
from ssn_prune.runtime.process import runtime_process
from ssn_prune.runtime.providers import CPU, provider_named
from ssn_prune.surgery.from_reference import adopt_layers
from ssn_prune.surgery.guest import guest


def measure_costs(
    loaded: LoadedCheckpoint,
    options: CostOptions | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Costs:
    """Measure what every pair costs at every layer of a checkpoint's network.

    Args:
        loaded: The checkpoint; not changed. The values of its weights do not matter.
        options: How to measure.
        cache: Folder to read known times from and to store new ones in; None for neither.
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
    """Like :func:`measure_costs`, for a network.

    Args:
        model: A network with switchable layers; not changed.
        example_inputs: Inputs of one call, with the batch size of the options.
        options: How to measure.
        cache: As in :func:`measure_costs`.
        progress: As in :func:`measure_costs`.
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
        input_sizes=input_sizes(example_inputs),
        norm_free_ms=norm_free,
        shapes=shapes_of(layers),
        layers=tuple(_costs(layers, times)),
    )


def shapes_of(layers: Iterable[PlacedLayer]) -> tuple[LayerShapes, ...]:
    """The input shapes of each layer, for the record."""
    return tuple(
        LayerShapes(layer.name, tuple(place.surroundings.shape for place in layer.places))
        for layer in layers
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
    """The times at every place; known ones come from the cache."""
    stored = TimesCache(cache, _setting(options, provider))
    wanted = pairs_by_place(layers)
    times = {place: stored.load(place) for place in wanted}
    missing = {
        place: pairs for place, pairs in wanted.items() if not set(pairs) <= times[place].keys()
    }
    for part in in_parts(missing):
        with TemporaryDirectory() as name:
            count = sum(map(len, part.values()))
            progress(f"exporting {count} probes of {len(part)} places")
            files = export_places(part, Path(name), target=options.target, static=options.static)
            progress(f"timing {count} probes")
            with runtime_process(options.timeout, limited=provider == CPU) as process:
                for place, own in files.items():
                    times[place] = time_place(process, own, place.batch, options, provider)
                    stored.store(place, times[place])
    return times


def _setting(options: CostOptions, provider: str) -> dict[str, Any]:
    return {
        "version": __version__,  # which decides the exported forms
        "runtime": f"ONNX Runtime {onnxruntime.__version__}",
        "torch": torch.__version__,
        "processor": processor_name(),
        "provider": provider,
        "threads": options.threads,
        "runs": options.runs,
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
    with TemporaryDirectory() as name:
        path = Path(name) / "norm-free.onnx"
        if not export_without_norms(model, inputs, path, options):
            return None
        with runtime_process(options.timeout, limited=provider == CPU) as process:
            how = {"path": str(path), "threads": options.threads, "provider": provider}
            how |= {"batch": options.batch, "sizes": [], "layers": False}
            process.call("add", path.name, how)
            times, _ = process.call("time", path.name, {"runs": options.runs, "warmup": 3})
            return 1e3 * typical(times[path.name])
