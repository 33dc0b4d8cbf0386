"""The results of a benchmark. Data only; docs/bench.md documents the JSON form."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.runtime.providers import CPU

SCHEMA_VERSION = 1
ORIGINAL, PRUNED, NORM_FREE = "original", "pruned", "norm-free"
"""The three networks that are measured for a checkpoint."""
NOISY_SPREAD = 0.1
"""An interquartile range above this share of the median means that the machine was busy."""


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        threads: Threads of ONNX Runtime.
        batch: Samples per run.
        runs: Timed runs of each network; the runs of all networks are interleaved.
        warmup: Untimed runs before these.
        profile: Also measure what each remaining normalizer costs.
        provider: ONNX Runtime's execution provider, with or without ``ExecutionProvider``.
        timeout: Seconds that each step may take for a file: to open it, to time it, to measure its
            memory, and to profile it.
    """

    threads: int = 1
    batch: int = 1
    runs: int = 40
    warmup: int = 3
    profile: bool = True
    provider: str = "cpu"
    timeout: float = TIMEOUT


@dataclass(frozen=True)
class NetworkCost:
    """One network.

    Attributes:
        name: The file name; for a checkpoint, which of its networks.
        nodes: Number of ONNX nodes, or of calls in a torch program.
        file_bytes: Size of the file with its external data.
        median_ms: Median latency of one run.
        lower_ms: First quartile.
        upper_ms: Third quartile.
        ratio: Median, divided by that of the baseline.
        memory_bytes: What loading and running it once adds to the peak resident memory of a
            separate process; None if the system does not report it.
        target: The runtime that the file was written for; None if it does not say.
        runtime: The runtime that ran it, with its version; None in reports without it.
    """

    name: str
    nodes: int
    file_bytes: int
    median_ms: float
    lower_ms: float
    upper_ms: float
    ratio: float
    memory_bytes: int | None
    target: str | None = None
    runtime: str | None = None

    @property
    def noisy(self) -> bool:
        """Whether the interquartile range exceeds ``NOISY_SPREAD`` of the median."""
        return self.upper_ms - self.lower_ms > NOISY_SPREAD * self.median_ms


@dataclass(frozen=True)
class LayerCost:
    """One normalizer that remains in a converted network.

    Attributes:
        network: Name of the network.
        layer: Path of the layer.
        mean: Selected normalizer of the mean, or ``mixed``.
        var: Selected normalizer of the variance, or ``mixed``.
        form: The class that it became.
        nodes: Number of its ONNX nodes that ran.
        milliseconds: Their time in one run, median over the runs.
        share: Their share of the time of all nodes, 0 to 1.
    """

    network: str
    layer: str
    mean: str
    var: str
    form: str
    nodes: int
    milliseconds: float
    share: float


@dataclass(frozen=True)
class BenchReport:
    """A whole benchmark.

    Attributes:
        schema_version: See docs/bench.md.
        ssn_prune_version: Version of this package.
        onnxruntime_version: Version of ONNX Runtime.
        processor: Name of the processor.
        cores: Number of its cores.
        options: How the networks were measured.
        baseline: Name of the network that ratios are relative to.
        networks: The networks, in the order of the command line.
        layers: The remaining normalizers, the most expensive first.
        missing: Networks that could not be exported for comparison, with the reason.
        noisy: Whether a latency varied so much that the ratios cannot be trusted.
        provider: The execution provider that the ONNX Runtime session reports.
    """

    schema_version: int
    ssn_prune_version: str
    onnxruntime_version: str
    processor: str
    cores: int
    options: BenchOptions
    baseline: str
    networks: tuple[NetworkCost, ...]
    layers: tuple[LayerCost, ...]
    missing: dict[str, str]
    noisy: bool
    provider: str = CPU
