"""Costs: what every pair of normalizers adds to the latency of a network, layer by layer.

Data only; docs/costs.md documents the JSON form.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ssn_prune.errors import ArgumentError, CostsError
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.text import listed, printable

SCHEMA_VERSION = 1
FREE = NormalizerPair(Normalizer.BN, Normalizer.BN)
"""The pair that every cost is measured against: it folds into a convolution."""


@dataclass(frozen=True)
class LayerPairCost:
    """One pair at one layer.

    Attributes:
        layer: Path of the layer.
        pair: The pair.
        milliseconds: What it costs above BN/BN at this layer, summed over all calls of the layer; 0
            for BN/BN. By noise, others may be slightly negative.
    """

    layer: str
    pair: NormalizerPair
    milliseconds: float


@dataclass(frozen=True)
class LayerShapes:
    """The inputs of a layer.

    Attributes:
        layer: Path of the layer.
        inputs: Shape ``(N, C, *)`` of its input at each call; empty for a layer that is not
            reached.
    """

    layer: str
    inputs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Costs:
    """The costs of a network's layers in one runtime on one device.

    Attributes:
        schema_version: See docs/costs.md.
        date: When they were measured, ISO 8601.
        runtime: What ran the files, with its version.
        processor: Name of the device's processor.
        provider: Execution provider of ONNX Runtime.
        threads: Threads of the runtime.
        batch: Samples per run.
        target: Runtime that the files are for; see :data:`ssn_prune.onnx_export.targets.TARGETS`.
        input_sizes: Size of each input of the network, without the batch.
        norm_free_ms: Latency of the network without norms; None if it could not be measured.
        shapes: The layers, in the network's order.
        layers: The cost of each pair that a layer offers.
    """

    schema_version: int
    date: str
    runtime: str
    processor: str
    provider: str
    threads: int
    batch: int
    target: str
    input_sizes: tuple[tuple[int, ...], ...]
    norm_free_ms: float | None
    shapes: tuple[LayerShapes, ...]
    layers: tuple[LayerPairCost, ...]

    def of(self, layer: str, pair: NormalizerPair) -> float:
        """Milliseconds that a pair costs at a layer above BN/BN, at least 0.

        Raises:
            ArgumentError: There is no such layer, or it does not offer the pair.
        """
        known = self._by_layer.get(layer)
        if known is None:
            raise ArgumentError(
                f"there are no costs of the layer {printable(layer)!r}",
                expected=f"a layer of the network that was measured: {listed(self._names, 4)}",
                found=printable(repr(layer)),
                hint="measure the costs of this network",
            )
        if pair == FREE:
            return 0.0
        if pair not in known:
            raise ArgumentError(
                f"the layer {printable(layer)} has no cost of {pair}",
                expected=", ".join(map(str, known)),
                found=str(pair),
                hint="take a pair that the layer offers",
            )
        return max(0.0, known[pair])

    def pairs(self, layer: str) -> tuple[NormalizerPair, ...]:
        """The pairs of a layer that have a cost; empty for an unknown layer."""
        return tuple(self._by_layer.get(layer, ()))

    def require_layers(self, channels: Mapping[str, int]) -> None:
        """Refuse a network whose layers are not among the measured ones.

        Args:
            channels: Number of channels of each of its layers, by path.

        Raises:
            CostsError: A layer has no costs, or another number of channels.
        """
        known = {entry.layer: entry.inputs[0][1] if entry.inputs else None for entry in self.shapes}
        for name, count in channels.items():
            if name in known and known[name] in (None, count):
                continue
            found = f"{known[name]} channels there" if name in known else "no such layer"
            raise CostsError(
                f"the costs are of another network: they do not fit the layer {printable(name)!r}",
                expected=f"costs of a layer with {count} channels",
                found=found,
                hint=_cure(list(channels), list(known)),
            )

    @cached_property
    def _by_layer(self) -> dict[str, dict[NormalizerPair, float]]:
        found: dict[str, dict[NormalizerPair, float]] = defaultdict(dict)
        for entry in self.shapes:
            found[entry.layer] = {}
        for cost in self.layers:
            found[cost.layer][cost.pair] = cost.milliseconds
        return dict(found)

    @property
    def _names(self) -> list[str]:
        return list(self._by_layer)


def _cure(names: Sequence[str], known: Sequence[str]) -> str:
    """Name the measured network if it is a part of this one, such as the network inside DDP."""
    for last in known:
        outer = names[0].removesuffix(f".{last}")
        if outer != names[0] and {f"{outer}.{name}" for name in known} == set(names):
            return f"pass the part that was measured: model.get_submodule({printable(outer)!r})"
    return "measure the costs of this network: ssn_prune.measure_network_costs(model, inputs)"


@dataclass(frozen=True)
class CostOptions:
    """How to measure.

    Attributes:
        threads: Threads of ONNX Runtime.
        batch: Samples per run.
        runs: Timed runs of each probe, at least; all pairs at one place are timed in turns.
        target: The runtime that the files are for.
        static: Whether the files have a fixed batch size.
        provider: ONNX Runtime's execution provider.
        timeout: Seconds that loading and running the probes of one place may take.
    """

    threads: int = 1
    batch: int = 1
    runs: int = 20
    target: str = "portable"
    static: bool = False
    provider: str = "cpu"
    timeout: float = 600.0
