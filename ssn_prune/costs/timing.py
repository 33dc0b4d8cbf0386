"""Time the probes of one place: all its pairs run in turns in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssn_prune.costs.cache import Times
from ssn_prune.costs.records import CostOptions
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.runtime.process import RuntimeProcess

_TURNS_SECONDS = 0.8
"""Seconds to spend on the runs of a place, unless ``runs`` of them take longer."""
_MOST_RUNS = 400


def time_place(
    process: RuntimeProcess,
    files: Mapping[NormalizerPair, Path],
    batch: int,
    options: CostOptions,
    provider: str,
) -> Times:
    """Measure the shortest run of each file, in milliseconds.

    Args:
        process: The process that runs them.
        files: The files by pair.
        batch: Batch size of the inputs.
        options: How to measure.
        provider: The execution provider.

    Raises:
        InferenceRuntimeError: A file cannot be loaded or run.
    """
    process.seconds_left = options.timeout
    process.call("forget", "probes")
    for pair, path in files.items():
        how = {"path": str(path), "threads": options.threads, "provider": provider}
        process.call("add", str(pair), {**how, "batch": batch, "sizes": [], "layers": False})
    trial, _ = process.call("time", "probes", {"runs": 3, "warmup": 1})
    turn = sum(map(min, trial.values()))
    runs = max(options.runs, min(_MOST_RUNS, round(_TURNS_SECONDS / turn)))
    times, _ = process.call("time", "probes", {"runs": runs, "warmup": 0})
    process.call("forget", "probes")
    return {pair: 1e3 * typical(times[str(pair)]) for pair in files}


def typical(seconds: list[float]) -> float:
    """The shortest run: other load on the machine can only add to it."""
    return min(seconds)
