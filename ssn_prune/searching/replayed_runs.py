"""A network that cannot be captured, but whose modules can be recorded.

The original runs once on a batch, and the outputs of its leaf modules are recorded in the order of
their calls. A candidate also runs the network's code from the start, but until its first change the
leaf modules return their recorded outputs instead of computing them. Values are copied when they
are recorded and when they are returned, because activations may write into them in place.

Code that depends on more than the outputs of its modules, such as a module that writes into its
input or a counter of calls, may break this. So a replayed run is first compared with a whole run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ssn_prune.searching.network_graph import CallLayer, Finished
from ssn_prune.searching.selections import Changes
from ssn_prune.searching.whole_runs import StandIn, WholeRuns
from ssn_prune.surgery.nested import clone_tensors, tensor_leaves


class ReplayedRuns(WholeRuns):
    """Runs candidates without recomputing the modules before their first change.

    Args:
        model: The network in evaluation mode; not changed, but its parameters are shared.
        memory: Bytes that recorded values may take; values beyond that are computed again.
    """

    def __init__(self, model: nn.Module, memory: int) -> None:
        super().__init__(model)
        self._tape = _Tape(memory)
        for module in self._model.modules():
            if next(module.children(), None) is None:
                module.forward = self._tape.recorded(module)

    def run(
        self,
        inputs: tuple[Any, ...],
        candidates: Sequence[Changes],
        call_layer: CallLayer,
        finished: Finished,
    ) -> None:
        """Like :meth:`ssn_prune.searching.network_graph.NetworkGraph.run`."""
        self._tape.record()
        original = candidates.index(()) if () in candidates else -1
        outputs = self._outputs(inputs, original, (), call_layer)
        if original >= 0:
            finished(original, outputs)
        del outputs
        for index, changes in enumerate(candidates):
            if changes:
                self._tape.replay(changes)
                finished(index, self._outputs(inputs, index, changes, call_layer))
        self._tape.forget()


class _Tape:
    """The outputs of leaf modules, in the order of their calls."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._values: list[Any] = []
        self._first_calls: dict[str, int] = {}
        self._next = self._until = self._bytes = 0
        self._recording = False

    def record(self) -> None:
        """Start recording: the next run is recorded."""
        self.forget()
        self._recording = True

    def replay(self, changes: Changes) -> None:
        """Start replaying: modules return recorded values until a changed layer is called."""
        calls = [self._first_calls[name] for name, _ in changes if name in self._first_calls]
        self._until = min([len(self._values), *calls])
        self._next, self._recording = 0, False

    def forget(self) -> None:
        """Free the recorded values."""
        self._values, self._first_calls = [], {}
        self._next = self._until = self._bytes = 0
        self._recording = False

    def recorded(self, module: nn.Module) -> Any:
        """A forward method that records or replays the outputs of a leaf module."""
        compute = module.forward
        name = module.layer_name if isinstance(module, StandIn) else None

        def forward(*args: Any, **kwargs: Any) -> Any:
            place = self._next
            self._next += 1
            if place < self._until:
                return clone_tensors(self._values[place])
            value = compute(*args, **kwargs)
            if self._recording:
                if name is not None:
                    self._first_calls.setdefault(name, place)
                self._keep(place, value)
            return value

        return forward

    def _keep(self, place: int, value: Any) -> None:
        size = sum(_bytes(tensor) for tensor in tensor_leaves(value))
        if place == len(self._values) and self._bytes + size <= self._memory:
            self._values.append(clone_tensors(value))
            self._bytes += size


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
