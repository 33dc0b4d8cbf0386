"""What a capture tells: plain records, no graphs."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.conv import _ConvNd

FoldTarget = _ConvNd | nn.Linear
"""What a normalizer behind it may fold into."""


@dataclass(frozen=True)
class ConvCall:
    """One call of a convolution or linear layer that feeds a switchable layer.

    Attributes:
        what: Its name in messages.
        weight: Memory id of the kernel, None if it is computed (parametrization, weight_norm).
        bias: Memory id of the bias, None if there is none or it is computed.
        consumers: Uses of its output, graph outputs included.
        transposed: Whether it is a transposed convolution.
    """

    what: str
    weight: int | None
    bias: int | None
    consumers: int
    transposed: bool


@dataclass(frozen=True)
class LayerCall:
    """One call of a switchable layer.

    Attributes:
        producer: Name of the operator that makes its input.
        conv: The convolution or linear layer, if the producer is one with channels on axis 1.
        positions: Positions of a plane of the input (H W); None if not a fixed number.
        axes: Number of axes of the input.
    """

    producer: str
    conv: ConvCall | None
    positions: int | None
    axes: int


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
    """The facts of one capture.

    Attributes:
        calls: Calls per layer, keyed by the layer's first name, in execution order.
        uses: Uses of each memory id in the graph.
        owners: Modules that hold each memory id; an aliased module counts once.
        operators: ATen operators of the graph outside switchable layers, counted by name.
        error: Why the capture failed; everything else is then empty.
    """

    calls: dict[str, tuple[LayerCall, ...]] = field(default_factory=dict)
    uses: dict[int, int] = field(default_factory=dict)
    owners: dict[int, tuple[ParameterOwner, ...]] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)
    error: str | None = None
