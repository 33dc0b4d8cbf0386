"""A network as a captured graph, in which several candidates share what they have in common.

All candidates run at once, with one set of values along the graph. Where candidates differ in the
pair of a layer, the set is copied (references only), and each copy goes on separately. So all that
comes before the first difference is computed once, and only values still needed are kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.node import map_arg

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.capture.dynamic_shapes import dynamic_shapes
from ssn_prune.pruning.capture.marked_model import is_marker, mark_layers
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.searching.selections import Changes
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.nested import clone_tensors

CallLayer = Callable[[str, int, NormalizerPair | None, bool, Tensor, Sequence[int]], Tensor]
"""Calls a layer. Arguments: its name, the index of the call, its pair or None, whether the call is
at or after the first change, its input, and the candidates that share the call."""

Finished = Callable[[int, Any], None]
"""Receives the index and the outputs of a candidate."""

Values = dict[torch.fx.Node, Any]


class NetworkGraph:
    """A captured network.

    Args:
        model: The network in evaluation mode; not changed, but its parameters are shared.
        inputs: Inputs of one call, with at least two samples. Other batch sizes can be run if the
            network's code allows it.

    Raises:
        Exception: torch.export cannot capture the network, for any reason.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Any, ...]) -> None:
        marked = mark_layers(model)
        with suppress_tracer_output(), collector_paused(), torch.no_grad():
            shapes = dynamic_shapes(marked, inputs, _batch_axis)
            program = torch.export.export(marked, clone_tensors(inputs), dynamic_shapes=shapes)
            # Remove in-place writes, since candidates share values.
            program = program.run_decompositions({})
        self._module = program.module()
        graph = self._module.graph
        self._nodes = list(graph.nodes)
        self._in_spec, self._out_spec = program.call_spec.in_spec, program.call_spec.out_spec
        self._free: dict[torch.fx.Node, list[torch.fx.Node]] = defaultdict(list)
        last: dict[torch.fx.Node, torch.fx.Node] = {}
        for node in self._nodes:
            for used in node.all_input_nodes:
                last[used] = node
        for used, node in last.items():
            self._free[node].append(used)

    def run(
        self,
        inputs: tuple[Any, ...],
        candidates: Sequence[Changes],
        call_layer: CallLayer,
        finished: Finished,
    ) -> None:
        """Run all candidates on the same inputs.

        Args:
            inputs: Inputs of one call.
            candidates: The candidates; each at most once.
            call_layer: Calls the layers.
            finished: Called with the index and the outputs of each candidate.
        """
        leaves = torch.utils._pytree.tree_leaves((inputs, {}))
        placeholders = [node for node in self._nodes if node.op == "placeholder"]
        values: Values = dict(zip(placeholders, leaves, strict=True))
        pairs = [dict(changes) for changes in candidates]
        walk = _Walk(self, pairs, call_layer, finished)
        walk.go_on(0, values, list(range(len(candidates))), changed=False, calls=Counter())


class _Walk:
    """One run of several candidates."""

    def __init__(
        self,
        graph: NetworkGraph,
        pairs: list[dict[str, NormalizerPair]],
        call_layer: CallLayer,
        finished: Finished,
    ) -> None:
        self._graph, self._pairs = graph, pairs
        self._call_layer, self._finished = call_layer, finished

    def go_on(
        self, start: int, values: Values, group: list[int], *, changed: bool, calls: Counter[str]
    ) -> None:
        """Run from a node to the end; this group owns the values and may change them."""
        nodes, free = self._graph._nodes, self._graph._free
        for index in range(start, len(nodes)):
            node = nodes[index]
            if node.op == "placeholder":
                continue
            if node.op == "output":
                outputs = map_arg(node.args[0], values.__getitem__)
                result = torch.utils._pytree.tree_unflatten(list(outputs), self._graph._out_spec)
                for candidate in group:
                    self._finished(candidate, result)
                return
            if is_marker(node):
                name = str(node.args[1])
                call = calls[name]
                calls[name] += 1
                x = values[node.args[0]]
                *others, last = self._split(name, group)
                for pair, members in others:
                    own = dict(values)
                    differs = changed or pair is not None
                    own[node] = self._call_layer(name, call, pair, differs, x, members)
                    for used in free[node]:
                        own.pop(used, None)
                    self.go_on(index + 1, own, members, changed=differs, calls=Counter(calls))
                    del own
                pair, group = last
                changed = changed or pair is not None
                values[node] = self._call_layer(name, call, pair, changed, x, group)
                del x
            else:
                values[node] = self._value(node, values)
            for used in free[node]:
                values.pop(used, None)

    def _split(self, name: str, group: list[int]) -> list[tuple[NormalizerPair | None, list[int]]]:
        """Split a group by the pair of a layer; those that do not change it come last."""
        found: dict[NormalizerPair | None, list[int]] = {}
        for candidate in group:
            found.setdefault(self._pairs[candidate].get(name), []).append(candidate)
        return sorted(found.items(), key=lambda item: item[0] is None)

    def _value(self, node: torch.fx.Node, values: Values) -> Any:
        if node.op == "get_attr":
            value: Any = self._graph._module
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return value
        args = map_arg(node.args, values.__getitem__)
        kwargs = map_arg(node.kwargs, values.__getitem__)
        if node.op == "call_module":  # torch's own check of the inputs
            return self._graph._module.get_submodule(str(node.target))(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]


def _batch_axis(tensor: Tensor) -> dict[int, Any]:
    return {0: torch.export.Dim.AUTO} if tensor.dim() else {}
