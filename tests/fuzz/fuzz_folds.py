"""Which layers must fold, derived from the spec alone.

backward   into the convolution or linear layer that makes the layer's input
chain      the same, through a BN/BN layer in between that went into it completely
absorbed   BN/BN after another switchable layer: into that layer's affine
forward    BN/BN into the convolution or linear layer that alone takes its output, also through
           torch's BatchNorm, which every layer before it absorbs
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from fuzz_graphs import BN, IN, LN, Conv, Graph, Norm
from fuzz_parameters import Parameters

ALL_RULES = frozenset({"backward", "chain", "absorbed", "forward"})

FAR_FROM_ZERO = 4.0
"""A mean of more deviations does not fold: the sums of the convolution would lose accuracy."""

_NEVER_BACKWARD = {(IN, LN), (LN, IN), (LN, LN)}
_CONV_OPS = ("call", "functional", "bare")


@dataclass(frozen=True)
class ExpectedFold:
    """A fold: its rule, and the name of the module that it goes into."""

    rule: str
    into: str


def expected_folds(
    graph: Graph, parameters: Parameters, rules: frozenset[str] = ALL_RULES
) -> dict[str, ExpectedFold]:
    """The folds by layer."""
    counter = _Counter(graph, parameters, rules)
    found = {name: counter.fold_of(name) for name in graph.switchable()}
    return {name: fold for name, fold in found.items() if fold is not None}


def undefined_layers(graph: Graph, shapes: list[tuple[int, ...] | None]) -> set[str]:
    """Layers whose Bessel-corrected variance is 0/0.

    Args:
        graph: The graph.
        shapes: Shapes of all values; None for a chunk's.
    """
    found = set()
    for name, norm in graph.switchable().items():
        inputs = [shapes[graph.nodes[call].inputs[0]] for call in graph.calls(name)]
        one = any(torch.Size(shape[2:]).numel() == 1 for shape in inputs)
        if one and norm.correction and (norm.var[0] or norm.var[1]):
            found.add(name)
    return found


class _Counter:
    def __init__(self, graph: Graph, parameters: Parameters, rules: frozenset[str]) -> None:
        self.graph, self.parameters, self.rules = graph, parameters, rules
        self.uses = graph.uses()
        self.layers = graph.switchable()
        self.known: dict[str, ExpectedFold | None] = {}
        self.visiting: set[str] = set()

    def fold_of(self, name: str) -> ExpectedFold | None:
        if name in self.visiting:  # the layer feeds itself
            return None
        if name not in self.known:
            self.visiting.add(name)
            self.known[name] = self._decide(name)
            self.visiting.discard(name)
        return self.known[name]

    def _decide(self, name: str) -> ExpectedFold | None:
        norm = self.layers[name]
        feeders = [self._feeder(call) for call in self.graph.calls(name)]
        if not norm.soft and (norm.mean, norm.var) not in _NEVER_BACKWARD:
            convs = [self._conv_before(feeder) for feeder in feeders]
            scale_only = norm.mean != BN and norm.var == BN
            found = [conv for conv in convs if conv is not None]
            complete = len(found) == len(convs)
            conv = self._owner(found, needs_bias=not scale_only) if complete else None
            if conv is not None and self._in_range(name, norm):
                chained = any(self._is_layer(feeder) for feeder in feeders)
                rule = "chain" if chained else "backward"
                return ExpectedFold(rule, conv) if rule in self.rules else None
        if norm.soft or (norm.mean, norm.var) != (BN, BN):
            return None
        before = {self._layer(feeder) for feeder in feeders}
        if len(before) == 1 and None not in before and "absorbed" in self.rules:
            into = before.pop()
            if into != name and len(self.graph.calls(into)) == len(feeders):
                front = self.fold_of(into)
                away = front is not None and front.rule == "absorbed"
                return ExpectedFold("absorbed", front.into if away else into)
        return self._forward(name) if "forward" in self.rules else None

    def _feeder(self, call: int) -> int | None:
        """The node whose only use is to be the input of this call."""
        value = self.graph.source(self.graph.nodes[call].inputs[0])
        return value - 1 if value and self.uses[value] == 1 else None

    def _layer(self, node: int | None) -> str | None:
        """The switchable layer that a node calls."""
        if node is None or self.graph.nodes[node].op != "call":
            return None
        name = self.graph.original_name(self.graph.nodes[node].module)
        return name if name in self.layers else None

    def _is_layer(self, node: int | None) -> bool:
        return self._layer(node) is not None

    def _conv_before(self, node: int | None) -> int | None:
        """The convolution of a node, past layers that folded into it completely."""
        if node is None or self.graph.nodes[node].op not in _CONV_OPS:
            return None
        layer = self._layer(node)
        if layer is not None:
            norm, fold = self.layers[layer], self.fold_of(layer)
            gone = fold is not None and fold.rule in ("backward", "chain")
            whole = gone and (norm.mean, norm.var) == (BN, BN)
            return self._conv_before(self._feeder(node)) if whole else None
        return node if isinstance(self.graph.named(self.graph.nodes[node].module), Conv) else None

    def _weight(self, name: str) -> str:
        shared = self.graph.named(name).weight_from
        return self._weight(shared) if shared else self.graph.original_name(name)

    def _bias(self, name: str) -> str:
        shared = self.graph.named(name).bias_from
        return self._bias(shared) if shared else self.graph.original_name(name)

    def _owner(self, convs: list[int], *, needs_bias: bool) -> str | None:
        """The module whose tensors these calls, and nothing else, use."""
        graph = self.graph
        names = {graph.original_name(graph.nodes[conv].module) for conv in convs}
        if len(names) != 1 or len(set(convs)) != len(convs):
            return None
        name = names.pop()
        sharing = [
            other
            for other, module in graph.modules
            if isinstance(module, Conv)
            and other != name
            and (self._weight(other) == self._weight(name) or self._bias(other) == self._bias(name))
        ]
        if sharing or len(graph.calls(name)) != len(convs):
            return None
        bare = {graph.nodes[conv].op == "bare" for conv in convs}
        return None if bare == {True, False} or (True in bare and needs_bias) else name

    def _in_range(self, name: str, norm: Norm) -> bool:
        """Whether an LN mean can be taken back out of the folded scale."""
        if (norm.mean, norm.var) != (LN, BN):
            return True
        weights = [self.parameters[n].get("weight") for n in (name, *self._absorbed_by(name))]
        return all(bool((weight != 0).all()) for weight in weights if weight is not None)

    def _absorbed_by(self, name: str, *, layers: bool = True) -> list[str]:
        """The static normalizers right after a layer, which become part of its weight.

        Args:
            name: The layer.
            layers: Include switchable ones, not only torch's BatchNorm.
        """
        graph, found = self.graph, []
        sources: list[int] = graph.calls(name)
        while True:
            takers = [self._taker(source) for source in sources]
            names = {self._module_of(taker) for taker in takers}
            following = names.pop()
            if names or following is None or len(graph.calls(following)) != len(sources):
                return found
            norm = graph.named(following)
            if not isinstance(norm, Norm) or norm.soft or (norm.mean, norm.var) != (BN, BN):
                return found
            after_batch_norm = bool(found) and not graph.named(found[-1]).switchable
            if norm.switchable and (not layers or after_batch_norm):
                return found
            found.append(following)
            sources = [taker for taker in takers if taker is not None]

    def _module_of(self, node: int | None) -> str | None:
        """The name of the module that a node uses."""
        name = "" if node is None else self.graph.nodes[node].module
        return self.graph.original_name(name) if name else None

    def _taker(self, node: int) -> int | None:
        """The only node that uses the value of a node."""
        value = node + 1
        takers = [
            index
            for index, other in enumerate(self.graph.nodes)
            if other.op != "identity" and value in [self.graph.source(v) for v in other.inputs]
        ]
        return takers[0] if self.uses[value] == 1 and len(takers) == 1 else None

    def _forward(self, name: str) -> ExpectedFold | None:
        graph, tensors = self.graph, self.parameters[name]
        deviation = (tensors["running_var"] + self.layers[name].eps).sqrt()
        if bool((tensors["running_mean"].abs() > FAR_FROM_ZERO * deviation).any()):
            return None
        if any(self._changed_in_place(call) for call in graph.calls(name)):
            return None
        takers = []
        last = (name, *self._absorbed_by(name, layers=False))[-1]
        for call in graph.calls(last):
            taker = self._taker(call)
            if taker is None or not self._takes(taker):
                return None
            takers.append(taker)
        into = self._owner(takers, needs_bias=True)
        return None if into is None else ExpectedFold("forward", into)

    def _changed_in_place(self, call: int) -> bool:
        """Whether the input of a call is overwritten later; its output must then be a copy."""
        value = self.graph.source(self.graph.nodes[call].inputs[0])
        return any(
            node.op in ("relu", "leaky_relu", "hardswish")
            and node.args == (1,)
            and value == self.graph.source(node.inputs[0])
            for node in self.graph.nodes[call + 1 :]
        )

    def _takes(self, node: int) -> bool:
        if self.graph.nodes[node].op not in _CONV_OPS:
            return False
        conv = self.graph.named(self.graph.nodes[node].module)
        if not isinstance(conv, Conv) or conv.transposed:
            return False
        return conv.padding == 0 or conv.mode != "zeros"
