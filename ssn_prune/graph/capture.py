"""Capture: run ``torch.export`` once and note what feeds each switchable layer, and how often.

Each switchable layer is replaced, in a skeleton copy, by a marker that the exporter cannot look
into. The captured graph then shows every call of every layer, whatever the Python code around it.
What follows needs facts, not graphs, so this module returns plain records:

- names are unreliable in a captured graph (an aliased module appears under one of its names only),
  so parameters are identified by the memory they occupy;
- the skeleton gives every convolution and linear layer without bias a zero bias before the capture.
  If that bias then appears in the module's call, it really uses ``self.bias``, whatever its class,
  and a fold may create one.

A linear layer over (N, C) is a convolution with one position here.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ssn_prune.errors import first_line
from ssn_prune.graph.facts import Capture, ConvCall, FoldTarget, LayerCall, ParameterOwner
from ssn_prune.graph.memory import memory_ids, named_tensors
from ssn_prune.layers.copying import carry_hooks, copy_model, names_of, replace_module
from ssn_prune.layers.switchable import SwitchableNorm

_LINEAR = "aten.linear.default"
_TRANSPOSED = {
    "aten.conv_transpose1d.default",
    "aten.conv_transpose2d.input",
    "aten.conv_transpose3d.input",
}
_CONVS = _TRANSPOSED | {
    f"aten.conv{dimension}d.{overload}"
    for dimension in (1, 2, 3)
    for overload in ("default", "padding")
}


@torch.library.custom_op("ssn_prune::switchable_norm", mutates_args=())
def _marker_op(x: Tensor, name: str) -> Tensor:  # noqa: ARG001  # read from the graph
    return x.clone()


@_marker_op.register_fake
def _(x: Tensor, name: str) -> Tensor:  # noqa: ARG001  # read from the graph
    return torch.empty_like(x)


class _Marker(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.layer_name = name

    def forward(self, input: Tensor) -> Tensor:  # may be called by this keyword
        y: Tensor = torch.ops.ssn_prune.switchable_norm(input, self.layer_name)
        return y


def capture(model: nn.Module, example_inputs: tuple[Any, ...]) -> Capture:
    """Capture ``model`` (not changed) in evaluation mode.

    Args:
        model: A network with switchable layers.
        example_inputs: Positional inputs of one call.

    Returns:
        The facts, or a :class:`Capture` with ``error`` set when torch.export cannot trace the
        network; replacing layers needs no capture, only folding does.
    """
    skeleton = copy_model(model, share_tensors=True)
    skeleton.eval()
    for layer in [m for m in skeleton.modules() if isinstance(m, SwitchableNorm)]:
        marker = _Marker(names_of(skeleton, layer)[0])
        carry_hooks(layer, marker)
        skeleton = replace_module(skeleton, layer, marker)
    for module in skeleton.modules():
        if isinstance(module, FoldTarget) and module._parameters.get("bias", module) is None:
            features = module.out_channels if isinstance(module, _ConvNd) else module.out_features
            zeros = torch.zeros(features, dtype=module.weight.dtype)
            module.bias = nn.Parameter(zeros.to(module.weight.device))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's notes on the user's code
            program = torch.export.export(skeleton, example_inputs)
    # torch.export raises whatever the traced code or the tracer raises; every such failure means
    # the same thing here, and its text is kept for the report.
    except Exception as error:  # noqa: BLE001
        return Capture(error=f"{type(error).__name__}: {first_line(error)}")
    return _facts(program, skeleton)


def _facts(program: torch.export.ExportedProgram, skeleton: nn.Module) -> Capture:
    signature = program.graph_signature
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    memory = memory_ids(skeleton)
    names = {name: memory[id(tensor)] for name, tensor in named_tensors(skeleton)}
    placeholders = {node: names[target] for node, target in targets.items() if target in names}

    uses: Counter[int] = Counter()
    operators: Counter[str] = Counter()
    calls: dict[str, list[LayerCall]] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in placeholders:
            uses[placeholders[node.name]] += sum(_argument_count(user, node) for user in node.users)
        if node.op != "call_function":
            continue
        if node.target is torch.ops.ssn_prune.switchable_norm.default:
            call = _layer_call(node, placeholders)
            calls.setdefault(str(node.args[1]), []).append(call)
        else:
            operators[_operator_name(node).removeprefix("aten.").split(".")[0]] += 1
    for graph_module in _regions(program):
        for node in graph_module.graph.nodes:
            if node.target is torch.ops.ssn_prune.switchable_norm.default:
                inner = node.args[0]
                call = LayerCall("a region of its own", None, _positions(inner), _axes(inner))
                calls.setdefault(str(node.args[1]), []).append(call)
    owners: dict[int, list[ParameterOwner]] = {}
    for path, module in skeleton.named_modules():
        for attribute, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                owners.setdefault(memory[id(tensor)], []).append(ParameterOwner(path, attribute))
    return Capture(
        calls={name: tuple(found) for name, found in calls.items()},
        uses=dict(uses),
        owners={key: tuple(found) for key, found in owners.items()},
        operators=dict(operators),
    )


def _layer_call(node: torch.fx.Node, placeholders: dict[str, int]) -> LayerCall:
    source = node.args[0]
    assert isinstance(source, torch.fx.Node)  # the marker's first argument is a tensor
    producer, axes = _operator_name(source), _axes(source)
    # A linear layer has its channels on the last axis, a normalizer on axis 1.
    folds = producer in _CONVS or (producer == _LINEAR and axes == 2)
    conv = _conv_call(source, placeholders) if folds else None
    return LayerCall(producer, conv, _positions(source), axes)


def _positions(source: torch.fx.Node) -> int | None:
    sizes = source.meta["val"].shape[2:]
    return math.prod(sizes) if all(isinstance(size, int) for size in sizes) else None


def _axes(source: torch.fx.Node) -> int:
    return len(source.meta["val"].shape)


def _regions(program: torch.export.ExportedProgram) -> list[torch.fx.GraphModule]:
    """Graphs inside the graph: no_grad and autocast regions, branches, checkpoints.

    What they use of the outer graph counts there as an ordinary use; nothing inside is folded.
    """
    inner = program.graph_module.modules()
    return [
        m for m in inner if isinstance(m, torch.fx.GraphModule) and m is not program.graph_module
    ]


def _conv_call(node: torch.fx.Node, placeholders: dict[str, int]) -> ConvCall:
    arguments: list[Any] = [*node.args, None, None, None][:3]
    weight = node.kwargs.get("weight", arguments[1])
    bias = node.kwargs.get("bias", arguments[2])

    def memory_of(value: Any) -> int | None:
        return placeholders.get(value.name) if isinstance(value, torch.fx.Node) else None

    operator = _operator_name(node)
    return ConvCall(
        what="linear layer" if operator == _LINEAR else "convolution",
        weight=memory_of(weight),
        bias=memory_of(bias),
        consumers=sum(_argument_count(user, node) for user in node.users),
        transposed=operator in _TRANSPOSED,
    )


def _argument_count(user: torch.fx.Node, node: torch.fx.Node) -> int:
    found = 0

    def count(argument: torch.fx.Node) -> torch.fx.Node:
        nonlocal found
        found += argument is node
        return argument

    torch.fx.map_arg((user.args, user.kwargs), count)
    return found


def _operator_name(node: torch.fx.Node) -> str:
    if node.op == "placeholder":
        return "network input"
    name = getattr(node.target, "__name__", "")  # operator.getitem and the like
    return str(node.target) if isinstance(node.target, torch._ops.OpOverload) else name
