"""The gains of the conversion: latencies, and the cost of each remaining normalizer."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.benchmarking.records import BenchReport, NetworkCost
from ssn_prune.reporting.figures import milliseconds, share, size
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.speed import Speed, speed_of


@dataclass(frozen=True)
class Bar:
    """The latency of one network, in milliseconds.

    Attributes:
        label: The name to show.
        median: Median.
        lower: First quartile.
        upper: Third quartile.
        text: The median as text.
    """

    label: str
    median: float
    lower: float
    upper: float
    text: str


@dataclass(frozen=True)
class Cost:
    """The cost of one remaining normalizer.

    Attributes:
        layer: Path of its layer.
        pair: Mean and variance.
        form: The form that it became.
        text: Its time as text.
        share: Its share of the time of all nodes, 0 to 1.
    """

    layer: str
    pair: str
    form: str
    text: str
    share: float


@dataclass(frozen=True)
class Gains:
    """The measured gains.

    Attributes:
        finding: The result in one sentence.
        how: How it was measured.
        bars: The networks; the last one is the floor if there is one.
        floor: The latency without norms in milliseconds; None if unknown.
        costs: Remaining normalizers, the most expensive first.
        costs_finding: Their total in one sentence.
        rows: Label and one figure for each of ``bars``: nodes, file size, memory.
    """

    finding: str
    how: str
    bars: tuple[Bar, ...]
    floor: float | None
    costs: tuple[Cost, ...]
    costs_finding: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]


_LABELS = {
    "original": "original, all statistics computed",
    "pruned": "converted",
    "norm-free": "no norms at all",
}


def gains_of(run: Run) -> Gains | None:
    """The gains of a run; None if nothing was measured."""
    speed = speed_of(run.bench)
    if run.bench is None or speed is None:
        return None
    networks = [n for n in (speed.original, speed.pruned, speed.floor) if n is not None]
    own = [cost for cost in run.bench.layers if cost.network == speed.pruned.name]
    costs = tuple(
        Cost(c.layer, f"{c.mean}/{c.var}", c.form, milliseconds(c.milliseconds), c.share)
        for c in sorted(own, key=lambda cost: -cost.share)
    )
    together = sum(cost.share for cost in costs)
    return Gains(
        _finding(speed),
        _how(run.bench),
        tuple(_bar(network) for network in networks),
        None if speed.floor is None else speed.floor.median_ms,
        costs,
        f"The remaining normalizers take {share(together)} of the nodes’ time",
        _rows(networks),
    )


def _finding(speed: Speed) -> str:
    if not speed.certain:
        text = "The speed difference is within this machine’s noise"
    else:
        word = "faster" if speed.gain > 0 else "slower"
        text = f"{share(abs(speed.gain))} {word} than with all statistics"
    shares = speed.shares
    if shares is None or not speed.certain:
        return text
    return (
        f"{text}; normalization takes {share(shares[1])} of the time instead of {share(shares[0])}"
    )


def _how(bench: BenchReport) -> str:
    options = bench.options
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    noisy = " The machine was busy: the quartiles are far apart." if bench.noisy else ""
    return (
        f"ONNX Runtime {bench.onnxruntime_version}, {bench.provider}, {threads}, batch "
        f"{options.batch}, medians of {options.runs} interleaved runs, on {bench.processor}. "
        f"Whiskers are quartiles.{noisy}"
    )


def _bar(network: NetworkCost) -> Bar:
    label = _LABELS.get(network.name, network.name)
    lower, upper = network.lower_ms, network.upper_ms
    return Bar(label, network.median_ms, lower, upper, milliseconds(network.median_ms))


def _rows(networks: list[NetworkCost]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    rows = [
        ("ONNX nodes", tuple(f"{n.nodes:,}" for n in networks)),
        ("file", tuple(size(n.file_bytes) for n in networks)),
    ]
    if all(n.memory_bytes is not None for n in networks):
        rows.append(("memory", tuple(size(n.memory_bytes or 0) for n in networks)))
    return tuple(rows)
