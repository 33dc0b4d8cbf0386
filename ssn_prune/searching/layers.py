"""The layers of a network during a search: other pairs, and the repairs that follow from them.

A change at one layer shifts the inputs of all layers after it, so their running statistics need an
update. Statistics of a few images cannot simply replace them: they differ from those of the
training even where nothing changed. Instead, the shift is measured on the same images:

.. code-block:: text

    mean = stored mean + (batch mean after the change - batch mean of the original)
    var = stored var x batch variance after the change / batch variance of the original

So a change that shifts nothing leaves the stored statistics as they are, to the last bit.

A layer without BN has no statistics of its own. Its running mean is 0 and its variance 1 if it was
never trained with BN; if it gets BN, the moments of the original's inputs take their place.

Another pair also changes the layer's outputs: a mean that was computed for each image may now be a
constant. The layer's weight and bias compensate for as much of this as they can. A scale and a
shift per channel are fitted by least squares, from the new outputs to the original's outputs for
the same images. Where nothing changed, they are 1 and 0.

Both happen layer by layer in topological order, in the pass that also computes the network's
outputs: each layer sees the outputs of the repaired layers before it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.searching.selections import (
    Repair,
    Repairs,
    set_statistics,
    switchable_layers,
    uses_bn,
    with_pair,
)

_TINY = 1e-12
_SAMPLED = 32
"""About how many positions along each axis of a plane a fit uses."""


@dataclass
class Measured:
    """Accumulates the repairs of one candidate.

    Attributes:
        means: By layer and kind, the mean of the values of all calls, weighted by their samples,
            (2, C), and the number of samples.
    """

    means: dict[tuple[str, str], tuple[Tensor, int]] = field(default_factory=dict)

    def add(self, name: str, kind: str, value: Tensor, samples: int) -> None:
        """Add the moments or the affine fit of one call."""
        mean, count = self.means.get((name, kind), (value, 0))
        count += samples
        # The mean of equal values is that value, to the last bit.
        self.means[name, kind] = mean + (value - mean) * (samples / count), count

    @property
    def repairs(self) -> Repairs:
        """The averages over all samples."""
        found: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for (name, kind), (mean, _) in self.means.items():
            found[name][kind] = mean
        return {
            name: Repair(values.get("moments"), values.get("affine"))
            for name, values in found.items()
        }


class SearchedLayers:
    """The layers of a network, callable under any pair.

    Args:
        model: The network in evaluation mode; not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.originals = switchable_layers(model)
        self._own = _with_own_affine(model, self.originals)
        self._variants: dict[tuple[str, NormalizerPair | None], nn.Module] = {}
        self._used: dict[tuple[str, NormalizerPair | None], bool] = {}
        self._calls: dict[str, int] = {}
        # Moments of the original's inputs, by batch, layer and call.
        self._moments: dict[tuple[int, str, int], Tensor] = {}
        self._pooled: dict[str, list[tuple[Tensor, int]]] = defaultdict(list)
        self.stored: dict[str, Tensor] = {}
        for name, layer in self.originals.items():
            if layer.running_mean is not None and layer.running_var is not None:
                self.stored[name] = torch.stack([layer.running_mean, layer.running_var])
        self._outputs: dict[tuple[str, int], Tensor] = {}
        self._fittable: set[str] = set()
        self._unfilled = frozenset(
            name
            for name, moments in self.stored.items()
            if _is_initial(moments) and not uses_bn(self.originals[name], None)
        )

    def record(self, batch: int, name: str, call: int, x: Tensor) -> Tensor:
        """Call the original layer, and remember the moments of its input."""
        moments = moments_of(x)
        self._moments[batch, name, call] = moments
        self._calls[name] = max(self._calls.get(name, 0), call + 1)
        self._pooled[name].append((moments, len(x)))
        return self.original(name, x)

    def finish_recording(self) -> None:
        """Set the statistics of layers that were never trained with BN to the recorded moments."""
        self._fittable = {name for name, calls in self._calls.items() if calls == 1} & self._own
        for name in self._unfilled:
            if self._pooled[name]:
                self.stored[name] = _pool(self._pooled[name])

    def original(self, name: str, x: Tensor) -> Tensor:
        """Call a layer unchanged."""
        result: Tensor = self.originals[name](x)
        return result

    def keep_outputs(self, name: str, call: int, x: Tensor) -> Tensor:
        """Call the original layer, and keep its output until :meth:`forget_outputs`."""
        result = self.original(name, x)
        self._outputs[name, call] = _sampled(result).clone()  # the network may write into it
        return result

    def forget_outputs(self) -> None:
        """Free the outputs that were kept."""
        self._outputs = {}

    def repaired(
        self,
        batch: int,
        name: str,
        call: int,
        pair: NormalizerPair | None,
        x: Tensor,
        measured: list[Measured],
    ) -> Tensor:
        """Call a layer at or after a change, and measure and apply its repairs.

        Args:
            batch: Index of the batch, as in :meth:`record`; the original's outputs for it must
                have been kept.
            name: The layer.
            call: Index of this call of the layer in this run.
            pair: Its pair; None for its own gates.
            x: Its input, (N, C, *).
            measured: Accumulate the repairs; one for each candidate that shares this call.
        """
        moments = None
        if self._uses(name, pair):
            moments = self._moved(self._moments[batch, name, call], moments_of(x), name)
            for candidate in measured:
                candidate.add(name, "moments", moments, len(x))
        result = self._call(name, pair, x, moments)
        if name not in self._fittable:
            return result
        affine = affine_fit(_sampled(result), self._outputs[name, call])
        for candidate in measured:
            candidate.add(name, "affine", affine, len(x))
        return _scaled(result, affine)

    def _moved(self, before: Tensor, after: Tensor, name: str) -> Tensor:
        stored = self.stored[name]
        mean = stored[0] + (after[0] - before[0])
        # A channel of zero variance has no ratio.
        ratio = torch.where(before[1] > 0, after[1] / before[1], torch.ones_like(after[1]))
        var = torch.where((before[1] > 0) | (after[1] == 0), stored[1] * ratio, after[1])
        return torch.stack([mean, var])

    def fixed(self, name: str, pair: NormalizerPair | None, x: Tensor, repairs: Repairs) -> Tensor:
        """Call a layer with the given repairs, or with its stored values if it has none."""
        repair = repairs.get(name, Repair(None, None))
        if repair.moments is None and pair is None:
            result = self.original(name, x)
        else:
            moments = self.stored.get(name) if repair.moments is None else repair.moments
            result = self._call(name, pair, x, moments)
        return result if repair.affine is None else _scaled(result, repair.affine)

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


def _with_own_affine(model: nn.Module, layers: Mapping[str, SwitchableNorm]) -> frozenset[str]:
    """The layers whose weight and bias are parameters that nothing else uses."""
    uses = Counter(
        id(parameter) for module in model.modules() for parameter in module._parameters.values()
    )
    return frozenset(
        name
        for name, layer in layers.items()
        if all(
            layer._parameters.get(part) is not None and uses[id(layer._parameters[part])] == 1
            for part in ("weight", "bias")
        )
    )


def moments_of(x: Tensor) -> Tensor:
    """Mean and biased variance of each channel over samples and positions: (N, C, *) to (2, C)."""
    samples, channels = x.shape[:2]
    positions = math.prod(x.shape[2:])
    # On a CPU this is several times as fast as var_mean over these axes, and as precise: the
    # moments of each plane, combined by the law of total variance.
    _, means, inverse = torch.native_group_norm(
        x, None, None, samples, channels, positions, channels, _TINY
    )
    var, mean = torch.var_mean(means, 0, correction=0)
    within = (inverse.square().reciprocal() - _TINY).clamp(min=0).mean(0)
    return torch.stack([mean, within + var])


def affine_fit(values: Tensor, wanted: Tensor) -> Tensor:
    """Scale and shift of each channel that fit values to others by least squares, (2, C).

    Args:
        values: The values to transform, (N, C, *).
        wanted: The values to approximate, of the same shape.
    """
    axes = [axis for axis in range(values.dim()) if axis != 1]
    mean, wanted_mean = (t.mean(axes, keepdim=True) for t in (values, wanted))
    centred = values - mean
    var = centred.square().mean(axes)
    both = (centred * (wanted - wanted_mean)).mean(axes)
    scale = torch.where(var > 0, both / var, torch.ones_like(var))
    return torch.stack([scale, wanted_mean.flatten() - scale * mean.flatten()])


def _sampled(values: Tensor) -> Tensor:
    """Evenly spaced positions of each plane, enough for a fit."""
    steps = [slice(None, None, max(1, size // _SAMPLED)) for size in values.shape[2:]]
    return values[(slice(None), slice(None), *steps)]


def _scaled(values: Tensor, affine: Tensor) -> Tensor:
    shape = (1, -1, *[1] * (values.dim() - 2))
    scale, shift = affine
    return torch.addcmul(shift.view(shape), values, scale.view(shape))


def _pool(parts: list[tuple[Tensor, int]]) -> Tensor:
    """Moments of the union of batches, by the law of total variance."""
    total = sum(count for _, count in parts)
    mean: Tensor = sum((count * m[0] for m, count in parts), torch.zeros(())) / total
    spread = (count * (m[1] + (m[0] - mean).square()) for m, count in parts)
    var: Tensor = sum(spread, torch.zeros(())) / total
    return torch.stack([mean, var])


def _is_initial(moments: Tensor) -> bool:
    return bool((moments[0] == 0).all() and (moments[1] == 1).all())
