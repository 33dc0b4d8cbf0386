"""Watch one eager run of a network: what makes each tensor, and how often is it used.

This is the independent side of the fold count: it shares nothing with ``pruning.capture``, which
reads the graph of ``torch.export``. A function mode sees every call of a torch function. Tensors
are distinguished by labels on the Python objects; an in-place operation gives its tensor a new
label, and the version counter betrays one through a view. Operations whose results reach no
output are dropped, as a graph would.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ssn_prune.nn.ssn import SSN

Weighted = nn.modules.conv._ConvNd | nn.Linear

CONVS = {"conv1d", "conv2d", "conv3d"}
TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_WEIGHTED = CONVS | TRANSPOSED | {"linear"}

# One count for all runs, since the labels of parameters stay with them.
_LABELS = itertools.count()


@dataclass(frozen=True)
class Operation:
    """One call of a torch function or of an SSN layer.

    Attributes:
        name: Of the function.
        layer: The SSN layer, if it is one's call.
        inputs: Labels of its tensors, one entry for every use.
        outputs: Labels of its results.
        memory: Storages of the network's own tensors among the inputs.
        kernel: The weight and bias of a convolution or linear function.
        padding: Of a convolution; the mode of a ``pad``.
        axes: Number of axes of the result.
        effect: Whether it changed a tensor in place.
    """

    name: str
    layer: SSN | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    memory: tuple[int, ...]
    kernel: tuple[Tensor | None, Tensor | None]
    padding: Any
    axes: int
    effect: bool


@dataclass(frozen=True)
class Trace:
    """The live operations of one run.

    Attributes:
        operations: In the order of execution.
        uses: Number of uses of every label, as an argument or an output of the network.
        memory_uses: Number of uses of every storage of the network's own tensors.
    """

    operations: tuple[Operation, ...]
    uses: Counter[int]
    memory_uses: Counter[int]


def trace(network: nn.Module, inputs: tuple[Any, ...]) -> Trace:
    """Run a network once; it is as before afterwards."""
    with torch.no_grad(), zero_biases(network):
        recorder = _Recorder(network)
        with _watched_layers(network, recorder), recorder:
            outputs = network(*inputs)
    return _live(recorder.operations, [recorder.label(leaf) for leaf in _tensors(outputs)])


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def owners(network: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """The modules that hold each storage, and under which attribute."""
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in network.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and tensor.numel():
                found.setdefault(storage(tensor), []).append((module, name))
    return found


@contextlib.contextmanager
def zero_biases(network: nn.Module) -> Iterator[None]:
    """Give all convolutions a bias for a while, to see whether their code would pass one on."""
    without = [
        module
        for module in network.modules()
        if isinstance(module, Weighted) and module._parameters.get("bias", module) is None
    ]
    for module in without:
        count = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        module.bias = nn.Parameter(torch.zeros(count, dtype=module.weight.dtype))
    try:
        yield
    finally:
        for module in without:
            module.bias = None


@contextlib.contextmanager
def _watched_layers(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    layers = [module for module in network.modules() if isinstance(module, SSN)]
    for layer in layers:
        layer.forward = recorder.watched(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class _Recorder(TorchFunctionMode):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._owned = set(owners(network))

    def label(self, tensor: Tensor, *, fresh: bool = False) -> int:
        """The tensor's label; a new one if it has none or was changed since it got it."""
        known = getattr(tensor, "_sweep_label", None)
        if fresh or known is None or known[1] != tensor._version:
            known = (next(_LABELS), tensor._version)
            tensor._sweep_label = known
        return known[0]

    def watched(self, layer: SSN) -> Callable[..., Tensor]:
        def run(*arguments: Any, **named: Any) -> Tensor:
            with torch._C.DisableTorchFunction():
                return self.record(type(layer).forward, layer, (layer, *arguments), named)

        return run

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return self.record(func, None, args, kwargs or {})

    def record(self, func: Any, layer: SSN | None, args: Any, kwargs: dict[str, Any]) -> Any:
        given = _tensors((args, kwargs))
        used = tuple(self.label(tensor) for tensor in given)
        before = [tensor._version for tensor in given]
        result = func(*args, **kwargs)
        changed = [t for t, version in zip(given, before, strict=True) if t._version != version]
        for tensor in changed:
            self.label(tensor, fresh=True)
        if isinstance(result, Tensor) and not changed and any(result is t for t in given):
            result = result.view_as(result)  # an operation that had nothing to do still is one
        made = _tensors(result)
        name = getattr(func, "__name__", str(func))
        self.operations.append(
            Operation(
                name=name,
                layer=layer,
                inputs=used,
                outputs=tuple(self.label(t) for t in (*made, *changed)),
                memory=tuple(storage(t) for t in given if storage(t) in self._owned),
                kernel=_kernel(name, args, kwargs),
                padding=_padding(name, args, kwargs),
                axes=made[0].dim() if made else 0,
                effect=bool(changed),
            )
        )
        return result


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str) -> Any:
    return kwargs.get(name, args[position] if len(args) > position else None)


def _kernel(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor | None, Tensor | None]:
    if name not in _WEIGHTED:
        return None, None  # what else is there is an activation, and should be freed
    return _argument(args, kwargs, 1, "weight"), _argument(args, kwargs, 2, "bias")


def _padding(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name == "pad":
        return _argument(args, kwargs, 2, "mode") or "constant"
    return _argument(args, kwargs, 4, "padding") if name in CONVS else None


def _live(operations: list[Operation], returned: list[int]) -> Trace:
    """Leave out what reaches no output and changes nothing."""
    uses, memory = Counter(returned), Counter[int]()
    kept = []
    for operation in reversed(operations):
        if operation.effect or any(uses[label] for label in operation.outputs):
            kept.append(operation)
            uses.update(operation.inputs)
            memory.update(operation.memory)
    return Trace(tuple(reversed(kept)), uses, memory)
