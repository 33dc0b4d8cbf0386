"""Probes: small networks that consist of one normalizer in its surroundings.

All probes of one export are branches of one module, which is pruned and exported like any network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssn_prune.costs.places import Place
from ssn_prune.nn.ssn import SSN, SSN1d, SSN2d, SSN3d
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.capture.records import OTHER, VALUE, ConvShape, Operation, Surroundings

_LAYERS: dict[int, type[SSN]] = {2: SSN1d, 3: SSN1d, 4: SSN2d, 5: SSN3d}
_CONVS: dict[tuple[int, bool], type[nn.Module]] = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}


@dataclass(frozen=True)
class Probe:
    """A pair at a place."""

    place: Place
    pair: NormalizerPair

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of its inputs, with the batch."""
        around = self.place.surroundings
        first = around.preceding.input if around.preceding else _source_shape(around.shape)
        return (first, *map(_source_shape, _others(around)))


def _others(around: Surroundings) -> list[tuple[int, ...]]:
    """Shapes of the tensors that are added to what comes from the layer."""
    shapes = [entry.other for entry in around.tail if entry.other is not None]
    return [*shapes, around.added] if around.added else shapes


def _source_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the probe input that a convolution turns into a tensor of the given shape.

    ONNX Runtime computes 2-d convolutions in its own memory layout. The convolution gives the
    tensor the layout that it has in a network.
    """
    return (shape[0], 1, *shape[2:]) if len(shape) == 4 else shape


class ProbeNetwork(nn.Module):
    """Probes side by side; those with equal input shapes share an input.

    Args:
        probes: The probes.

    Attributes:
        input_shapes: Shapes of the inputs, with the batch.
    """

    def __init__(self, probes: Sequence[Probe]) -> None:
        super().__init__()
        shapes = [probe.input_shapes for probe in probes]
        self.input_shapes = tuple(dict.fromkeys(shape for entry in shapes for shape in entry))
        self.wired = [[self.input_shapes.index(shape) for shape in entry] for entry in shapes]
        self.branches = nn.ModuleList(map(ProbeModule, probes))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute one output per probe."""
        return tuple(
            branch(*(inputs[index] for index in wired))
            for branch, wired in zip(self.branches, self.wired, strict=True)
        )


class ProbeModule(nn.Module):
    """One probe.

    If nothing can fold into a convolution before the layer, or if there is none, the probe has one
    with a ReLU: its output has the memory layout of a network, and nothing folds into it.
    """

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        around = probe.place.surroundings
        self.foldable = probe.place.foldable
        self.conv = _convolution(around.preceding) if around.preceding else _source(around.shape)
        self.layer = _layer(probe)
        self.tail = around.tail
        self.sources = nn.ModuleList(_source(shape) or nn.Identity() for shape in _others(around))
        self.added = around.added is not None
        self.following = _convolution(around.following) if around.following else None
        self.last = _convolution(around.following) if around.following and around.added else None

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Apply the layer and its surroundings to an input of shape (N, C, *)."""
        if self.conv is not None:
            x = self.conv(x) if self.foldable else torch.relu(self.conv(x))
        x = self.layer(x)
        made = [source(other) for source, other in zip(self.sources, others, strict=True)]
        for operation in self.tail:
            x = _apply(operation, x, made.pop(0) if operation.other else None)
        result = x if self.following is None else self.following(x)
        if self.added:
            x = torch.relu(x + made.pop())
            x = x if self.last is None else self.last(x)
            return result + x if self.following is not None else x
        return result


def _source(shape: tuple[int, ...]) -> nn.Module | None:
    return nn.Conv2d(1, shape[1], 1) if len(shape) == 4 else None


def _convolution(shape: ConvShape) -> nn.Module:
    axes = len(shape.weight) - 2
    if axes == 0:
        return nn.Linear(shape.weight[1], shape.weight[0], bias=shape.bias)
    outputs, inputs = shape.weight[0], shape.weight[1] * shape.groups
    if shape.transposed:
        inputs, outputs = shape.weight[0], shape.weight[1] * shape.groups
    more = {"output_padding": shape.output_padding} if shape.transposed else {}
    return _CONVS[axes, shape.transposed](
        inputs,
        outputs,
        shape.weight[2:],
        stride=shape.stride,
        padding=shape.padding,
        dilation=shape.dilation,
        groups=shape.groups,
        bias=shape.bias,
        **more,
    )


def _layer(probe: Probe) -> SSN:
    channels = probe.place.surroundings.shape[1]
    kind = _LAYERS[len(probe.place.surroundings.shape)]
    layer = kind(channels, affine=probe.place.affine, correction=probe.place.correction)
    with torch.no_grad():
        for tensor in (layer.weight, layer.running_var):
            if tensor is not None:
                tensor.uniform_(0.5, 1.5)
        for tensor in (layer.bias, layer.running_mean):
            if tensor is not None:
                tensor.uniform_(-0.5, 0.5)
    layer.fix(probe.pair.mean, probe.pair.var)
    return layer


def _apply(operation: Operation, value: Tensor, other: Tensor | None) -> Tensor:
    packet, overload = operation.operator.removeprefix("aten.").split(".")
    tensors = {VALUE: value, OTHER: other}

    def filled(item: object) -> object:
        if isinstance(item, tuple):
            return [filled(entry) for entry in item]
        return tensors[item] if isinstance(item, str) and item in tensors else item

    named = {key: filled(item) for key, item in operation.named}
    result: Tensor = getattr(getattr(torch.ops.aten, packet), overload)(
        *map(filled, operation.arguments), **named
    )
    return result
