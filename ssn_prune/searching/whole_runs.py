"""A network that cannot be captured: each candidate runs its whole code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ssn_prune.normalizer import NormalizerPair
from ssn_prune.searching.network_graph import CallLayer, Finished
from ssn_prune.searching.selections import Changes, switchable_layers
from ssn_prune.surgery.copying import copy_replacing


class WholeRuns:
    """Runs candidates by the network's own code, with only its layers exchanged.

    Args:
        model: The network in evaluation mode; not changed, but its parameters are shared.
    """

    def __init__(self, model: nn.Module) -> None:
        self._run = _Run()
        replaced: list[tuple[nn.Module, nn.Module]] = []
        for name, layer in switchable_layers(model).items():
            stand_in = StandIn(name, self._run)
            replaced.append((layer, stand_in))
        self._model = copy_replacing(model, replaced)
        self._model.eval()

    def run(
        self,
        inputs: tuple[Any, ...],
        candidates: Sequence[Changes],
        call_layer: CallLayer,
        finished: Finished,
    ) -> None:
        """Like :meth:`ssn_prune.searching.network_graph.NetworkGraph.run`."""
        for index, changes in enumerate(candidates):
            finished(index, self._outputs(inputs, index, changes, call_layer))

    def _outputs(
        self, inputs: tuple[Any, ...], index: int, changes: Changes, call_layer: CallLayer
    ) -> Any:
        self._run.begin(index, dict(changes), call_layer)
        return self._model(*inputs)


class _Run:
    """The candidate that is running."""

    def begin(self, index: int, pairs: dict[str, NormalizerPair], call_layer: CallLayer) -> None:
        self.index, self.pairs, self.call_layer = index, pairs, call_layer
        self.changed, self.calls = False, Counter[str]()

    def call(self, name: str, x: Tensor) -> Tensor:
        pair = self.pairs.get(name)
        self.changed = self.changed or pair is not None
        call = self.calls[name]
        self.calls[name] += 1
        return self.call_layer(name, call, pair, self.changed, x, [self.index])


class StandIn(nn.Module):
    """A module in place of a layer.

    Attributes:
        layer_name: The layer's first path.
    """

    def __init__(self, name: str, run: _Run) -> None:
        super().__init__()
        self.layer_name, self._of = name, run

    def forward(self, input: Tensor) -> Tensor:  # may be called by this keyword
        """Call the layer for the running candidate."""
        return self._of.call(self.layer_name, input)
