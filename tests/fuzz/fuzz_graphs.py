"""Random networks as plain data: a list of modules and a list of nodes.

A graph is a value: it can be printed, pasted into a test, compared and shrunk. Everything else is
derived from it: the network (fuzz_network), its parameters (fuzz_parameters), the outputs that it
must have (fuzz_reference) and the folds (fuzz_folds).

Values are numbered: 0 is the network's input, i + 1 the result of node i. The value of a chunk node
is a tuple, which only pick nodes take.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

Ratios = tuple[float, float, float]

IN: Ratios = (1.0, 0.0, 0.0)
LN: Ratios = (0.0, 1.0, 0.0)
BN: Ratios = (0.0, 0.0, 1.0)
ONE_HOT = (IN, LN, BN)


@dataclass(frozen=True)
class Conv:
    """A convolution; with ``dim`` 0 a linear layer on (N, C).

    Attributes:
        dim: Number of spatial axes.
        inputs: Input channels.
        outputs: Output channels.
        kernel: Its size, the same on every axis; likewise stride, padding and dilation.
        padding: A number, or "same".
        mode: The padding mode.
        weight_from: Name of the module whose weight this one shares.
        bias_from: Name of the module whose bias this one shares.
        gain: Range of log10 of the standard deviation of an output channel.
        offset: Largest absolute value of a bias.
    """

    dim: int
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int | str = 0
    output_padding: int = 0
    dilation: int = 1
    groups: int = 1
    mode: str = "zeros"
    bias: bool = True
    transposed: bool = False
    weight_from: str = ""
    bias_from: str = ""
    gain: tuple[float, float] = (0.0, 0.0)
    offset: float = 0.5


@dataclass(frozen=True)
class Norm:
    """A normalizer.

    Attributes:
        dim: As in the class name; 1 also takes (N, C).
        channels: C.
        mean: Ratios of the IN, LN and BN means.
        var: Ratios of the three variances.
        kind: "frozen" for SSN with fixed gates, "simplex" for SSN whose logits are the ratios,
            "softmax" for SwitchNorm, "batch" for torch's BatchNorm.
        tied: One gate for mean and variance.
        correction: 1 for Bessel-corrected variances.
        affine: Whether there are weight and bias.
        eps: Added to the variance.
        spread: Range of log10 of the running variances.
        offset: Largest absolute running mean.
        zeros: Whether some weights are exactly zero.
        matched: Whether the weight compensates for the running variance, so that the scale is 1.
        follows: Name of the convolution whose bias is close to the running mean.
    """

    dim: int
    channels: int
    mean: Ratios = BN
    var: Ratios = BN
    kind: str = "frozen"
    tied: bool = False
    correction: int = 0
    affine: bool = True
    eps: float = 1e-5
    spread: tuple[float, float] = (-1.0, 0.5)
    offset: float = 0.5
    zeros: bool = False
    matched: bool = True
    follows: str = ""

    @property
    def switchable(self) -> bool:
        """Whether it is a layer with gates."""
        return self.kind != "batch"

    @property
    def soft(self) -> bool:
        """Whether it keeps a weighted form."""
        one_hot = self.mean in ONE_HOT and self.var in ONE_HOT
        return self.switchable and (self.kind == "softmax" or not one_hot)


@dataclass(frozen=True)
class Alias:
    """A second name of a module."""

    of: str


Module = Conv | Norm | Alias


@dataclass(frozen=True)
class Node:
    """One step.

    Attributes:
        op: The operation; "call" calls ``module``, "functional" passes its weight and bias to the
            function, "bare" only its weight.
        inputs: Numbers of the values that it takes.
        module: A name in the graph's modules.
        args: Numeric arguments of the operation.
    """

    op: str
    inputs: tuple[int, ...]
    module: str = ""
    args: tuple[int, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network with its input.

    Attributes:
        seed: Seed of all its parameters and inputs.
        input_shape: Shape of the input, (N, C, ...).
        modules: Modules by name, in the order of registration.
        nodes: Nodes in the order of execution.
        outputs: Numbers of the values that are returned.
    """

    seed: int
    input_shape: tuple[int, ...]
    modules: tuple[tuple[str, Module], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def named(self, name: str) -> Conv | Norm:
        """The module of a name, aliases resolved."""
        module = dict(self.modules)[name]
        return self.named(module.of) if isinstance(module, Alias) else module

    def original_name(self, name: str) -> str:
        """The name of the module that an alias stands for."""
        module = dict(self.modules)[name]
        return self.original_name(module.of) if isinstance(module, Alias) else name

    def switchable(self) -> dict[str, Norm]:
        """The layers with gates."""
        norms = {name: m for name, m in self.modules if isinstance(m, Norm) and m.switchable}
        called = {self.original_name(node.module) for node in self.nodes if node.module}
        return {name: norm for name, norm in norms.items() if name in called}

    def source(self, value: int) -> int:
        """The value behind identities, which leave no trace in a network."""
        while value and self.nodes[value - 1].op == "identity":
            value = self.nodes[value - 1].inputs[0]
        return value

    def uses(self) -> Counter[int]:
        """How often each value is used or returned; identities do not count as uses."""
        taken = [v for node in self.nodes if node.op != "identity" for v in node.inputs]
        return Counter(self.source(v) for v in [*taken, *self.outputs])

    def calls(self, name: str) -> list[int]:
        """Numbers of the nodes that use a module, under any of its names."""
        return [
            index
            for index, node in enumerate(self.nodes)
            if node.module and self.original_name(node.module) == name
        ]


def without_dead_parts(graph: Graph) -> Graph:
    """Drop nodes that no output needs and modules that no node uses, and renumber."""
    needed: set[int] = set(graph.outputs)
    for index in reversed(range(len(graph.nodes))):
        if index + 1 in needed:
            needed.update(graph.nodes[index].inputs)
    number = {0: 0}
    nodes = []
    for index, node in enumerate(graph.nodes):
        if index + 1 in needed:
            inputs = tuple(number[v] for v in node.inputs)
            nodes.append(dataclasses.replace(node, inputs=inputs))
            number[index + 1] = len(nodes)
    kept = {node.module for node in nodes if node.module}
    for name, module in reversed(graph.modules):  # owners come before borrowers
        if name in kept:
            kept |= set(borrowed_from(module))
    return dataclasses.replace(
        graph,
        nodes=tuple(nodes),
        outputs=tuple(number[v] for v in graph.outputs),
        modules=tuple((name, module) for name, module in graph.modules if name in kept),
    )


def borrowed_from(module: Module) -> list[str]:
    """Names of the modules that this one shares tensors of."""
    if isinstance(module, Alias):
        return [module.of]
    if isinstance(module, Norm):
        return [module.follows] if module.follows else []
    return [name for name in (module.weight_from, module.bias_from) if name]
