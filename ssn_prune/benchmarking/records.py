"""What a benchmark found. Data only; docs/bench.md documents the JSON form."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.runtime.providers import CPU

SCHEMA_VERSION = 1
ORIGINAL, PRUNED, NORM_FREE = "original", "pruned", "norm-free"
"""The networks that a checkpoint is measured as."""
NOISY_SPREAD = 0.1
"""Quartiles further apart than this share of the median mean that the machine was busy."""


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        threads: Threads of ONNX Runtime.
        batch: Samples per run.
        runs: Timed runs of each network; all networks take turns.
        warmup: Runs before that.
        profile: Also measure what each remaining normalizer costs.
        provider: ONNX Runtime's execution provider: its name, or what precedes the suffix.
        timeout: Seconds that loading and running a file may take: to open it, to time it, to
            measure its memory, and to profile it.
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
        name: File name, and for the networks of a checkpoint which one.
        nodes: ONNX nodes, or calls of a torch program.
        file_bytes: Size of the file with its external data.
        median_ms: Median latency of one run.
        lower_ms: First quartile.
        upper_ms: Third quartile.
        ratio: Median over that of the base line.
        memory_bytes: What loading and running it once adds to the peak resident memory of a process
            of its own; None where the system does not report it.
        target: The runtime that the file is for; None if it does not say.
        runtime: What ran it, with its version; None in reports that do not say.
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
        """Whether the quartiles are far apart."""
        return self.upper_ms - self.lower_ms > NOISY_SPREAD * self.median_ms


@dataclass(frozen=True)
class LayerCost:
    """One normalizer that is left in a converted network.

    Attributes:
        network: Name of the network.
        layer: Path of the layer.
        mean: Selected normalizer of the mean, or ``mixed``.
        var: Selected normalizer of the variance, or ``mixed``.
        form: Class that it became.
        nodes: ONNX nodes that ran.
        milliseconds: Their time in one run, median over the runs.
        share: Of the time of all nodes.
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
        ssn_prune_version: Of this package.
        onnxruntime_version: Of the runtime.
        processor: Of the machine.
        cores: Its cores.
        options: How it was measured.
        baseline: Name of the network that ratios refer to.
        networks: In the order of the command line.
        layers: Normalizers that are left, the most expensive first.
        missing: Networks that could not be exported for comparison, with the reason.
        noisy: Whether a latency was so unsteady that the ratios are not to be trusted.
        provider: The execution provider of ONNX Runtime that the session names.
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
