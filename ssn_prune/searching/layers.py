"""The layers of a network while it is searched: other pairs, and running statistics that follow.

A change at one layer moves the inputs of all layers after it. Their running statistics are measured
again, but not simply replaced: those of a few images differ from those of the training even where
nothing changed. What is measured is how far the change moves them, on the same images:

.. code-block:: text

    mean = stored mean + (batch mean after the change - batch mean of the original)
    var = stored var x batch variance after the change / batch variance of the original

So a change that moves nothing leaves the stored statistics as they are, to the last bit. This
happens layer by layer in the order of the data flow, within the one pass that also gives the
outputs: each layer sees what the layers before it give with their new statistics.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.searching.selections import (
    Statistics,
    set_statistics,
    switchable_layers,
    uses_bn,
    with_pair,
)


@dataclass
class Measured:
    """Running statistics of one candidate, while they are measured.

    Attributes:
        sums: By layer, the statistics of each call times its samples, (2, C), and the samples.
    """

    sums: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    def add(self, name: str, moments: Tensor, samples: int) -> None:
        """Take the statistics of one call."""
        total, count = self.sums.get(name, (torch.zeros_like(moments), 0))
        self.sums[name] = total + samples * moments, count + samples

    @property
    def statistics(self) -> Statistics:
        """The average over all samples."""
        return {name: total / count for name, (total, count) in self.sums.items()}


class SearchedLayers:
    """The layers of a network, callable under any pair.

    Args:
        model: The network in evaluation mode; not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.originals = switchable_layers(model)
        self._variants: dict[tuple[str, NormalizerPair | None], nn.Module] = {}
        self._used: dict[tuple[str, NormalizerPair | None], bool] = {}
        # Moments of the original by batch, layer and call.
        self._moments: dict[tuple[int, str, int], Tensor] = {}
        self._pooled: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)
        self.stored: dict[str, Tensor] = {}
        for name, layer in self.originals.items():
            if layer.running_mean is not None and layer.running_var is not None:
                self.stored[name] = torch.stack([layer.running_mean, layer.running_var])
        self.fresh = frozenset(n for n, m in self.stored.items() if _is_fresh(m))

    def record(self, batch: int, name: str, call: int, x: Tensor) -> Tensor:
        """Call the original layer, and remember the moments of its input."""
        moments = moments_of(x)
        self._moments[batch, name, call] = moments
        self._pooled[name].append((moments, len(x)))
        return self.original(name, x)

    def finish_recording(self) -> None:
        """Take the statistics of layers that have none from what was recorded."""
        for name in self.fresh:
            if self._pooled[name]:
                self.stored[name] = _pool(self._pooled[name])

    @property
    def filled_in(self) -> Statistics:
        """Statistics that the file did not store."""
        return {name: self.stored[name] for name in self.fresh if self._pooled[name]}

    def original(self, name: str, x: Tensor) -> Tensor:
        """Call a layer as it is."""
        result: Tensor = self.originals[name](x)
        return result

    def shifted(
        self,
        batch: int,
        name: str,
        call: int,
        pair: NormalizerPair | None,
        x: Tensor,
        measured: list[Measured],
    ) -> Tensor:
        """Call a layer at or after a change, with the statistics that the change moves.

        Args:
            batch: Which batch of images this is, as in :meth:`record`.
            name: The layer.
            call: Which call of the layer in this run.
            pair: Its pair; None for its own gates.
            x: Its input.
            measured: Take the new statistics; one for each candidate that shares this call.
        """
        if not self._uses(name, pair):
            return self._call(name, pair, x)
        before, after, stored = self._moments[batch, name, call], moments_of(x), self.stored[name]
        mean = stored[0] + after[0] - before[0]
        # A channel without any variance has no ratio.
        ratio = torch.where(before[1] > 0, after[1] / before[1], torch.ones_like(after[1]))
        var = torch.where((before[1] > 0) | (after[1] == 0), stored[1] * ratio, after[1])
        moments = torch.stack([mean, var])
        for candidate in measured:
            candidate.add(name, moments, len(x))
        return self._call(name, pair, x, moments)

    def fixed(
        self, name: str, pair: NormalizerPair | None, x: Tensor, statistics: Statistics
    ) -> Tensor:
        """Call a layer with given statistics, or the stored ones where none are given."""
        moments = statistics.get(name)
        if moments is None and name in self.fresh:
            moments = self.stored[name]
        if moments is None and pair is None:
            return self.original(name, x)
        return self._call(name, pair, x, self.stored.get(name) if moments is None else moments)

    def _uses(self, name: str, pair: NormalizerPair | None) -> bool:
        key = name, pair
        if key not in self._used:
            self._used[key] = name in self.stored and uses_bn(self.originals[name], pair)
        return self._used[key]

    def _call(
        self, name: str, pair: NormalizerPair | None, x: Tensor, moments: Tensor | None = None
    ) -> Tensor:
        key = name, pair
        if key not in self._variants:
            self._variants[key] = with_pair(self.originals[name], pair)
        module = self._variants[key]
        if moments is not None:
            set_statistics(module, moments)
        result: Tensor = module(x)
        return result


def moments_of(x: Tensor) -> Tensor:
    """Mean and biased variance of each channel over samples and positions: (N, C, *) to (2, C)."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    var, mean = torch.var_mean(x, axes, correction=0)
    return torch.stack([mean, var])


def _pool(parts: list[tuple[Tensor, int]]) -> Tensor:
    """Moments of the union of batches, by the law of total variance."""
    total = sum(count for _, count in parts)
    mean: Tensor = sum((count * m[0] for m, count in parts), torch.zeros(())) / total
    spread = (count * (m[1] + (m[0] - mean).square()) for m, count in parts)
    var: Tensor = sum(spread, torch.zeros(())) / total
    return torch.stack([mean, var])


def _is_fresh(moments: Tensor) -> bool:
    return bool((moments[0] == 0).all() and (moments[1] == 1).all())
