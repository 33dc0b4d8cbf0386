"""The places of a network that have a normalizer; equal places are measured once.

A layer that is called several times has several places.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ssn_prune.costs.records import FREE
from ssn_prune.errors import ArgumentError
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.nn.variance_kind import FROM_PLANES
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.pruning.capture.capture import capture
from ssn_prune.pruning.capture.records import Capture, ConvShape, LayerCall, Surroundings
from ssn_prune.pruning.folds.kernel import editable_kernel
from ssn_prune.pruning.plan import Refusal
from ssn_prune.surgery.nested import tensor_leaves

_CHEAP = 16
"""Channels of a cheap convolution: the block that ONNX Runtime computes at once."""


@dataclass(frozen=True)
class Place:
    """The surroundings of a normalizer, without its values. Equal places cost the same.

    Attributes:
        surroundings: Its input, the convolution before it, and what follows.
        foldable: Whether the normalizer may fold into that convolution.
        correction: Bessel correction of its variances: 0, 1 or 2.
        affine: Whether it has a weight and a bias.
    """

    surroundings: Surroundings
    foldable: bool
    correction: int
    affine: bool

    @property
    def batch(self) -> int:
        """Number of samples in the input."""
        return self.surroundings.shape[0]


@dataclass(frozen=True)
class PlacedLayer:
    """A layer of the network.

    Attributes:
        name: Its path.
        places: One for each call; empty for a layer that is not reached and so costs nothing.
        pairs: The pairs that it offers and that are defined at its places.
    """

    name: str
    places: tuple[Place, ...]
    pairs: tuple[NormalizerPair, ...]

    @property
    def measured(self) -> tuple[NormalizerPair, ...]:
        """The pairs to measure: its own, and BN/BN to compare with."""
        return (FREE, *(pair for pair in self.pairs if pair != FREE))


def find_layers(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[PlacedLayer, ...]:
    """Find the places of a network's layers.

    Args:
        model: A network with switchable layers of ssn_prune. Not changed.
        inputs: Inputs of one call, with the batch size to measure with.

    Raises:
        ArgumentError: No layer is reached with these inputs.
    """
    captured = capture(model, inputs, fixed_sizes=True)
    found = []
    for name, layer in model.named_modules():
        if isinstance(layer, SwitchableNorm):
            calls = captured.calls.get(name, ())
            foldable = _foldable(model, captured, calls)
            places = tuple(
                _place(call.surroundings, foldable, layer)
                for call in calls
                if call.surroundings is not None
            )
            found.append(PlacedLayer(name, places, _pairs(layer, places)))
    if not any(layer.places for layer in found):
        raise ArgumentError(
            "no switchable layer is reached on the example inputs, so nothing can be measured",
            expected="a network that runs here",
            found=captured.error or "a network without switchable layers",
            hint="check `input_size=`",
        )
    return tuple(found)


def input_sizes(inputs: tuple[Any, ...]) -> tuple[tuple[int, ...], ...]:
    """Sizes of a network's inputs without the batch; for a list of images, their whole shapes."""
    batched = [tuple(value.shape[1:]) for value in inputs if isinstance(value, Tensor)]
    return tuple(batched or (tuple(tensor.shape) for tensor in tensor_leaves(inputs)))


def pairs_by_place(layers: Iterable[PlacedLayer]) -> dict[Place, list[NormalizerPair]]:
    """The pairs to measure at each place, for all layers that have it."""
    wanted: dict[Place, list[NormalizerPair]] = {}
    for layer in layers:
        for place in layer.places:
            pairs = wanted.setdefault(place, [])
            pairs += [pair for pair in layer.measured if pair not in pairs]
    return wanted


def _place(around: Surroundings, foldable: bool, layer: SwitchableNorm) -> Place:
    shape = around.shape
    if around.preceding is not None:
        around = replace(around, preceding=_cheap(around.preceding, shape))
    if around.following is not None and (around.tail or foldable):
        # Nothing folds into it, so only the memory layout that it requires matters.
        around = replace(around, following=_pointwise((shape[0], shape[1]), _CHEAP, len(shape) - 2))
    affine = layer.weight is not None
    return Place(around, foldable and around.preceding is not None, layer.correction, affine)


def _cheap(conv: ConvShape, shape: tuple[int, ...]) -> ConvShape:
    """A pointwise convolution of few channels with the same output shape.

    What a normalizer adds does not depend on how long the convolution takes, but the time of a long
    one varies by more than that. Transposed and grouped convolutions stay as they are, because
    runtimes treat them by other rules.
    """
    if conv.transposed or 1 < conv.groups < shape[1]:
        return conv
    cheap = _pointwise((shape[0], _CHEAP, *shape[2:]), shape[1], len(shape) - 2)
    return replace(cheap, bias=conv.bias)


def _pointwise(shape: tuple[int, ...], channels: int, axes: int) -> ConvShape:
    ones = (1,) * axes
    kernel = (channels, shape[1], *ones)
    return ConvShape(shape, kernel, True, False, ones, (0,) * axes, (), ones)


def _foldable(model: nn.Module, captured: Capture, calls: tuple[LayerCall, ...]) -> bool:
    convs = [call.preceding_conv for call in calls if call.preceding_conv is not None]
    if not convs or len(convs) != len(calls) or any(conv.consumers != 1 for conv in convs):
        return False
    return not isinstance(editable_kernel(model, captured, convs), Refusal)


def _pairs(layer: SwitchableNorm, places: tuple[Place, ...]) -> tuple[NormalizerPair, ...]:
    offered = [pair for pair in ALL_PAIRS if {pair.mean, pair.var} <= set(layer.normalizers)]
    if layer.shared_gate:
        offered = [pair for pair in offered if pair.mean == pair.var]
    undefined = _undefined(layer) if any(_single(place) for place in places) else set()
    return tuple(pair for pair in offered if pair.var not in undefined)


def _single(place: Place) -> bool:
    return all(size == 1 for size in place.surroundings.shape[2:])


def _undefined(layer: SwitchableNorm) -> set[Normalizer]:
    """The normalizers whose variance is 0/0 over a single position."""
    if not layer.correction:
        return set()
    both = layer.correction == FROM_PLANES or layer.num_features == 1
    return {Normalizer.IN, Normalizer.LN} if both else {Normalizer.IN}
