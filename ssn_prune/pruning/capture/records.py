"""The result of a capture: plain records, no graphs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.pruning.capture.size_conditions import SizeGuard

BiasedModule = _ConvNd | nn.Linear
"""Modules whose call adds their ``bias`` attribute, so that a fold may create one."""


@dataclass(frozen=True)
class ConvCall:
    """One call of a convolution or linear layer next to a switchable layer.

    Attributes:
        what: Its name in messages.
        weight: Memory id of the kernel, None if it is computed (parametrization, weight_norm).
        bias: Memory id of the bias, None if there is none or it is computed.
        biased: Whether a bias is added, be it a parameter or computed.
        consumers: Uses of its output, graph outputs included.
        transposed: Whether it is a transposed convolution.
        groups: Its groups.
        zero_padded: Whether it pads its input with zeros.
    """

    what: str
    weight: int | None
    bias: int | None
    biased: bool
    consumers: int
    transposed: bool
    groups: int
    zero_padded: bool


@dataclass(frozen=True)
class AffineCall:
    """One call of a module after a switchable layer that only scales or shifts channels.

    Attributes:
        module: Its path; an eval-mode BatchNorm, or a module with a single tensor that it
            multiplies by or adds (LayerScale).
        operator: ``batch_norm``, ``mul`` or ``add``.
        tensor: Memory id of a tensor that every call of the module uses.
    """

    module: str
    operator: str
    tensor: int


VALUE, OTHER = "value", "other"


@dataclass(frozen=True)
class ConvShape:
    """A convolution or linear layer without its values.

    Attributes:
        input: Shape of its input, (N, C, *).
        weight: Shape of its kernel, as torch stores it.
        bias: Whether it has a bias.
        transposed: Whether it is a transposed convolution.
        stride: One number per axis; empty for a linear layer, as are padding and dilation.
        padding: One number per axis, or ``same`` or ``valid``.
        output_padding: One number per axis; empty unless it is a transposed convolution.
        dilation: One number per axis.
        groups: Its groups.
    """

    input: tuple[int, ...]
    weight: tuple[int, ...]
    bias: bool
    transposed: bool = False
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    output_padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1


@dataclass(frozen=True)
class Operation:
    """One call of an operator after a layer.

    Attributes:
        operator: Its name, such as ``aten.relu.default``.
        arguments: Its arguments: numbers, lists, :data:`VALUE` for what comes from the layer, and
            :data:`OTHER` for another tensor.
        named: The arguments that are passed by name.
        other: Shape of the other tensor, if there is one.
    """

    operator: str
    arguments: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...] = ()
    other: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Surroundings:
    """The operators around one call of a layer.

    Attributes:
        shape: Of the layer's input, (N, C, *), in the example.
        preceding: The convolution or linear layer that makes the input, if one does.
        tail: The operators that follow directly, each the only use of the value before it.
        following: A convolution or linear layer that takes the result of the tail, if one does.
        added: Shape of the result of the tail if it is added to another tensor of that shape.
    """

    shape: tuple[int, ...]
    preceding: ConvShape | None = None
    tail: tuple[Operation, ...] = ()
    following: ConvShape | None = None
    added: tuple[int, ...] | None = None


@dataclass(frozen=True)
class LayerCall:
    """One call of a switchable layer.

    Attributes:
        producer: Name of the operator that makes its input.
        preceding_conv: The convolution or linear layer that makes the input, if the producer is one
            with channels on axis 1.
        positions: Positions of a plane of the input (H W); None if they depend on data.
        axes: Number of axes of the input.
        preceding_layer: The switchable layer whose output is the input, if it is one.
        consumers: Uses of the output, graph outputs included.
        consumer: Name of the operator that is the only use of the output, or of the output of the
            last of ``affines``; else the number of uses, in words.
        affines: Affine modules after the layer, each the only use of the value before it.
        following_conv: The convolution or linear layer that is the only use of the output, or of
            the output of the last of ``affines``.
        overwritten: Whether the input's memory is written to later.
        order: Position among all calls of switchable layers.
        surroundings: The operators around the call; None where its shape depends on data.
    """

    producer: str
    preceding_conv: ConvCall | None
    positions: int | None
    axes: int
    preceding_layer: str | None = None
    consumers: int = 1
    consumer: str = ""
    affines: tuple[AffineCall, ...] = ()
    following_conv: ConvCall | None = None
    overwritten: bool = False
    order: int = 0
    surroundings: Surroundings | None = None


@dataclass(frozen=True)
class ParameterOwner:
    """A module that holds a tensor directly.

    Attributes:
        module: Its path.
        attribute: The tensor's attribute name.
    """

    module: str
    attribute: str


@dataclass(frozen=True)
class Capture:
    """What one capture found.

    Attributes:
        calls: Calls per layer, keyed by the layer's first name, in execution order.
        uses: Number of uses of each memory id: in the graph, or in the whole run if only parts were
            captured.
        owners: Modules that hold each memory id; an aliased module counts once.
        operators: ATen operators of the graph outside switchable layers, counted by name; empty if
            the network was captured in parts.
        guards: Conditions on the sizes of the inputs under which the code takes the captured path.
        error: Why the network could not be captured as a whole; None if it was.
        parts: Paths of the largest submodules that were captured instead.
    """

    calls: dict[str, tuple[LayerCall, ...]] = field(default_factory=dict)
    uses: dict[int, int] = field(default_factory=dict)
    owners: dict[int, tuple[ParameterOwner, ...]] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    guards: tuple[SizeGuard, ...] = ()
    error: str | None = None
    parts: tuple[str, ...] = ()
