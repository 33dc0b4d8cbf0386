"""Measure candidates: repairs, harm and accuracy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ssn_prune.accuracy.per_image import PerImage, joined
from ssn_prune.images.image_set import TargetKind
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.searching.batches import Batches
from ssn_prune.searching.divergence import Divergence, Reference
from ssn_prune.searching.layers import Measured, SearchedLayers
from ssn_prune.searching.network_graph import CallLayer, Finished, NetworkGraph
from ssn_prune.searching.replayed_runs import ReplayedRuns
from ssn_prune.searching.selections import Changes, Repairs, pair_of
from ssn_prune.searching.whole_runs import WholeRuns
from ssn_prune.surgery.nested import clone_tensors, max_error, tensor_leaves

GRAPH_ERROR = 1e-4
"""Largest difference between a runner and the network's code, relative to the outputs' scale."""

WORST = 1e6
"""The harm of outputs that are not finite."""

Step = Callable[[], None]
"""Called after each batch."""


class Runner(Protocol):
    """Runs several candidates on the same inputs."""

    def run(
        self,
        inputs: tuple[Any, ...],
        candidates: Sequence[Changes],
        call_layer: CallLayer,
        finished: Finished,
    ) -> None:
        """See :meth:`ssn_prune.searching.network_graph.NetworkGraph.run`."""


@dataclass(frozen=True)
class Harm:
    """The divergence of a candidate from the original.

    Attributes:
        mean: Mean over the images.
        error: Standard error of the mean.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, harms: Tensor) -> Harm:
        """Summarise the harm of each image."""
        harms = harms.nan_to_num(WORST, posinf=WORST).clamp(max=WORST)
        spread = float(harms.std()) / len(harms) ** 0.5 if len(harms) > 1 else 0.0
        return cls(float(harms.mean()), spread)


@dataclass(frozen=True)
class Outcome:
    """The result of a candidate on images that its repairs were not measured on.

    Attributes:
        harm: Its divergence from the original.
        expected_drop: Loss of accuracy expected by the original's probabilities, in [0, 1]; None
            without classes.
        results: The scores, image by image.
        others: Relative change of the outputs other than the class scores; None without classes or
            without other outputs.
        same_class: Share of the images, or of the pixels of maps, that get the original's class;
            None without classes.
    """

    harm: Harm
    expected_drop: float | None
    results: PerImage
    others: Harm | None = None
    same_class: float | None = None


@dataclass
class _Collected:
    """The results of one candidate, batch by batch."""

    harms: list[Tensor] = field(default_factory=list)
    drops: list[Tensor] = field(default_factory=list)
    results: list[PerImage] = field(default_factory=list)
    others: list[Tensor] = field(default_factory=list)
    same: list[Tensor] = field(default_factory=list)

    def take(
        self, divergence: Divergence, reference: Reference, outputs: Any, results: PerImage
    ) -> None:
        self.harms.append(divergence.harms(reference, outputs))
        lost = divergence.expected_drops(reference, outputs)
        self.drops += [] if lost is None else [lost]
        self.results.append(results)
        changed = divergence.other_changes(reference, outputs)
        self.others += [] if changed is None else [changed]
        same = divergence.same_classes(reference, outputs)
        self.same += [] if same is None else [same]

    def outcome(self) -> Outcome:
        return Outcome(
            harm=Harm.of(torch.cat(self.harms)),
            expected_drop=float(torch.cat(self.drops).mean()) if self.drops else None,
            results=joined(self.results),
            others=Harm.of(torch.cat(self.others)) if self.others else None,
            same_class=float(torch.cat(self.same).mean()) if self.same else None,
        )


class Evaluator:
    """Measures candidates of a network.

    Args:
        model: The original, in evaluation mode on the device of the batches; not changed.
        calibration: Images to measure statistics and single harms on.
        memory: Bytes that recorded values may take.
        others: Further images to run. Some code does something else for another number of images.

    Attributes:
        calibration: The calibration images.
        layers: The layers of the network.
        shares_prefixes: Whether what candidates have in common is computed only once.
    """

    def __init__(
        self,
        model: nn.Module,
        calibration: Batches,
        memory: int = 2 << 30,
        others: Sequence[Batches] = (),
    ) -> None:
        self.calibration = calibration
        self._divergence = Divergence(calibration.images.kind is not TargetKind.NONE)
        self.layers = SearchedLayers(model)
        self._runner = _runner_of(model, _of_each_size([calibration, *others]), memory)
        self.shares_prefixes = not isinstance(self._runner, WholeRuns) or isinstance(
            self._runner, ReplayedRuns
        )
        for batch in range(len(calibration)):

            def record(
                name: str, number: int, pair: Any, changed: bool, x: Tensor, members: Any
            ) -> Tensor:
                del pair, changed, members
                return self.layers.record(batch, name, number, x)  # noqa: B023  # called at once

            self._reference(calibration, batch, calibration.inputs(batch), record)
        self.layers.finish_recording()

    @property
    def batches(self) -> int:
        """Number of batches of calibration images."""
        return len(self.calibration)

    def measure(
        self, candidates: Sequence[Changes], step: Step = lambda: None
    ) -> list[tuple[Harm, Repairs]]:
        """Measure the repairs and the harm of candidates on the calibration images, in one pass.

        Args:
            candidates: The candidates; each at most once.
            step: Called after each batch.
        """
        measured = [Measured() for _ in candidates]
        harms: list[list[Tensor]] = [[] for _ in candidates]
        for batch in range(self.batches):
            inputs = self.calibration.inputs(batch)
            reference = self._reference(self.calibration, batch, inputs, self._kept)

            def call(
                name: str,
                number: int,
                pair: NormalizerPair | None,
                changed: bool,
                x: Tensor,
                members: Sequence[int],
            ) -> Tensor:
                if not changed:
                    return self.layers.original(name, x)
                takers = [measured[index] for index in members]
                return self.layers.repaired(batch, name, number, pair, x, takers)  # noqa: B023

            def finished(index: int, outputs: Any) -> None:
                harms[index].append(self._divergence.harms(reference, outputs))  # noqa: B023

            self._run(inputs, candidates, call, finished)
            self.layers.forget_outputs()
            step()
        return [
            (Harm.of(torch.cat(parts)), found.repairs)
            for parts, found in zip(harms, measured, strict=True)
        ]

    def outcomes(
        self,
        batches: Batches,
        candidates: Sequence[tuple[Changes, Repairs]],
        step: Step = lambda: None,
    ) -> list[Outcome]:
        """Run candidates on images that their repairs were not measured on.

        Args:
            batches: The images.
            candidates: Changes and repairs; each at most once. No changes mean the original.
            step: Called after each batch.
        """
        collected = [_Collected() for _ in candidates]
        for batch in range(len(batches)):
            inputs = batches.inputs(batch)
            reference = self._reference(batches, batch, inputs, self._as_it_is)

            def call(
                name: str,
                number: int,
                pair: NormalizerPair | None,
                changed: bool,
                x: Tensor,
                members: Sequence[int],
            ) -> Tensor:
                del number
                repairs = candidates[members[0]][1] if changed else {}
                return self.layers.fixed(name, pair, x, repairs)

            def finished(index: int, outputs: Any) -> None:
                results = batches.score(batch, outputs)  # noqa: B023
                collected[index].take(self._divergence, reference, outputs, results)  # noqa: B023

            self._run(inputs, [changes for changes, _ in candidates], call, finished)
            step()
        return [found.outcome() for found in collected]

    def _kept(
        self, name: str, number: int, pair: Any, changed: bool, x: Tensor, members: Any
    ) -> Tensor:
        del pair, changed, members
        return self.layers.keep_outputs(name, number, x)

    def _as_it_is(
        self, name: str, number: int, pair: Any, changed: bool, x: Tensor, members: Any
    ) -> Tensor:
        del number, pair, changed, members
        return self.layers.original(name, x)

    def _reference(
        self, batches: Batches, batch: int, inputs: tuple[Any, ...], call: CallLayer
    ) -> Reference:
        found: list[Reference] = []

        def finished(index: int, outputs: Any) -> None:
            del index
            found.append(self._divergence.reference(outputs, batches.names(batch)))

        self._run(inputs, [()], call, finished)
        return found[0]

    def _run(
        self,
        inputs: tuple[Any, ...],
        candidates: Sequence[Changes],
        call: CallLayer,
        finished: Finished,
    ) -> None:
        with torch.no_grad():
            self._runner.run(inputs, candidates, call, finished)


def compare(original: nn.Module, other: nn.Module, batches: Batches, step: Step) -> list[Outcome]:
    """Run two networks unchanged on the same images, and compare the second with the first.

    Returns:
        The outcomes of the original and of the other network.
    """
    divergence = Divergence(batches.images.kind is not TargetKind.NONE)
    collected = [_Collected(), _Collected()]
    with torch.no_grad():
        for batch in range(len(batches)):
            inputs = batches.inputs(batch)
            outputs = original(*inputs)
            reference = divergence.reference(outputs, batches.names(batch))
            for found, given in zip(collected, (outputs, other(*inputs)), strict=True):
                found.take(divergence, reference, given, batches.score(batch, given))
            step()
    return [found.outcome() for found in collected]


def _of_each_size(given: Sequence[Batches]) -> list[tuple[Any, ...]]:
    """The inputs of one batch of each size that occurs, the largest one first."""
    found: dict[int, tuple[Any, ...]] = {}
    for batches in given:
        for batch, indices in enumerate(batches.indices):
            if len(indices) not in found:
                found[len(indices)] = batches.inputs(batch)
    return [found[size] for size in sorted(found, reverse=True)]


def _runner_of(model: nn.Module, sizes: list[tuple[Any, ...]], memory: int) -> Runner:
    """The first way to run candidates that gives the outputs of the network's code.

    The ways are the captured graph, the code with recorded modules, and the code alone.

    Args:
        model: The network.
        sizes: Inputs of one call for each number of images, the largest one first.
        memory: Bytes that recorded values may take.
    """
    layers = SearchedLayers(model)
    first = sizes[0]
    if len(first[0]) == 1:  # a graph of one sample would take no other number
        sizes = [tuple(torch.cat((t, t)) for t in first), *sizes]
    with torch.no_grad():
        expected = [tensor_leaves(model(*clone_tensors(batch))) for batch in sizes]
    for build in (lambda: NetworkGraph(model, sizes[0]), lambda: ReplayedRuns(model, memory)):
        try:
            runner: Runner = build()
            if all(map(functools.partial(_computes, runner, layers), sizes, expected)):
                return runner
        # torch.export and the network's code may raise anything; the next way may work.
        except Exception:  # noqa: BLE001
            continue
    return WholeRuns(model)


def _computes(
    runner: Runner, layers: SearchedLayers, inputs: tuple[Any, ...], expected: list[Tensor]
) -> bool:
    """Whether a runner gives the network's own outputs, even when candidates share a prefix."""
    last = [(name, pair) for name, layer in layers.originals.items() if (pair := pair_of(layer))]
    candidates: list[Changes] = [(), *([tuple(last[-1:])] if last else [])]
    found: list[Any] = []

    def call(name: str, number: int, pair: Any, changed: bool, x: Tensor, members: Any) -> Tensor:
        del number, pair, changed, members
        return layers.original(name, x)

    def finished(index: int, outputs: Any) -> None:
        del index
        found.append(clone_tensors(outputs))

    with torch.no_grad():
        runner.run(clone_tensors(inputs), candidates, call, finished)
    return len(found) == len(candidates) and all(
        error <= GRAPH_ERROR * max(scale, 1e-30)
        for outputs in found
        for pair in zip(tensor_leaves(outputs), expected, strict=True)
        for error, scale in [max_error(*pair)]
    )
