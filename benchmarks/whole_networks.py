"""Latencies of whole networks with given pairs, to measure the error of the sum of costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ssn_prune.benchmarking.networks import without_norms
from ssn_prune.costs.records import CostOptions, Costs
from ssn_prune.costs.timing import typical
from ssn_prune.nn.ssn import SSN
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.onnx_export.exporter import export_onnx
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.onnx_export.targets import dynamic_axes
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.prune import prune_shared
from ssn_prune.runtime.process import runtime_process
from ssn_prune.runtime.providers import CPU, provider_named
from ssn_prune.surgery.from_reference import adopt_layers
from ssn_prune.surgery.round_gates import round_gates

Pairs = Mapping[str, NormalizerPair]


@dataclass(frozen=True)
class MeasuredSelection:
    """A selection as predicted and as measured.

    Attributes:
        predicted_ms: Latency of the network without norms, measured in the same run, plus costs.
        measured_ms: Latency of the whole file.
    """

    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True)
class AdditiveError:
    """Predicted and measured latencies of whole networks.

    Attributes:
        norm_free_ms: Latency of the network without norms in the same run.
        selections: The selections that were compared, in the given order.
    """

    norm_free_ms: float
    selections: tuple[MeasuredSelection, ...]

    @property
    def largest(self) -> float:
        """The largest error, in units of the latency without norms."""
        return max(abs(s.predicted_ms - s.measured_ms) for s in self.selections) / self.norm_free_ms

    @property
    def mean(self) -> float:
        """The mean error in the same units, with its sign: above 0 if predictions are too high."""
        errors = [s.predicted_ms - s.measured_ms for s in self.selections]
        return sum(errors) / len(errors) / self.norm_free_ms


def additive_error(
    model: nn.Module,
    example_inputs: tuple[Any, ...],
    costs: Costs,
    selections: Sequence[Pairs],
    options: CostOptions | None = None,
    *,
    progress: Progress = no_progress,
) -> AdditiveError:
    """Compare predicted latencies with those of whole files, all measured in turns in one run.

    Args:
        model: The network that the costs are of; not changed.
        example_inputs: Inputs of one call; two samples or more unless the files are static.
        costs: Its costs.
        selections: The pair of every layer, by its path.
        options: How to measure; as for the costs.
        progress: Called with the name of each step before it starts.

    Raises:
        SsnPruneError: A file cannot be exported or run.
    """
    options = options or CostOptions()
    provider = provider_named(options.provider)
    adopted = adopt_layers(model).eval()
    dynamic = dynamic_axes(options.target, "none" if options.static else None)
    how = ExportOptions(target=options.target, dynamic=dynamic)
    with TemporaryDirectory() as name, torch.no_grad():
        files = {"norm-free": Path(name) / "norm-free.onnx"}
        export_onnx(without_norms(adopted), example_inputs, files["norm-free"], options=how)
        for index, pairs in enumerate(selections):
            progress(f"exporting selection {index + 1} of {len(selections)}")
            pruned = prune_shared(
                with_pairs(adopted, pairs),
                example_inputs,
                given=None,
                on_unconverged="error",
                fold=True,
                any_size=False,
                fixed_sizes=True,
                allow_unverified_layers=False,
            )
            files[str(index)] = Path(name) / f"{index}.onnx"
            export_onnx(pruned.model, example_inputs, files[str(index)], options=how)
        progress(f"timing {len(files)} networks")
        with runtime_process(options.timeout, limited=provider == CPU) as process:
            for label, path in files.items():
                opened = {"path": str(path), "threads": options.threads, "provider": provider}
                opened |= {"batch": options.batch, "sizes": [], "layers": False}
                process.seconds_left = options.timeout
                process.call("add", label, opened)
            process.seconds_left = options.timeout * len(files)
            times, _ = process.call("time", "networks", {"runs": options.runs, "warmup": 3})
    base = 1e3 * typical(times["norm-free"])
    return AdditiveError(
        base,
        tuple(
            MeasuredSelection(
                base + sum(costs.of(layer, pair) for layer, pair in pairs.items()),
                1e3 * typical(times[str(index)]),
            )
            for index, pairs in enumerate(selections)
        ),
    )


def with_pairs(model: nn.Module, pairs: Pairs) -> nn.Module:
    """A copy of a network whose layers have selected the given pairs; others are rounded."""
    chosen = round_gates(model)
    for layer, pair in pairs.items():
        module = chosen.get_submodule(layer)
        assert isinstance(module, SSN)  # rounding makes all of them such
        module.fix(pair.mean, pair.var)
    return chosen
