"""Affine modules after a switchable layer: they only scale or shift its channels.

Three kinds are recognised: torch's BatchNorm in evaluation mode, and modules of any class that do
nothing but multiply by, or add, their only tensor (LayerScale). They can be replaced by the
identity. The same operation in the code of a larger module cannot, because that code stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssn_prune.pruning.capture.fx_utils import CapturedProgram, axes_of, operator_name
from ssn_prune.pruning.capture.records import AffineCall
from ssn_prune.surgery.copying import all_names

_SCALINGS = {
    "aten.mul.Tensor": "mul",
    "aten.mul_.Tensor": "mul",
    "aten.add.Tensor": "add",
    "aten.add_.Tensor": "add",
}
_VIEWS = {
    "aten.view.default",
    "aten.reshape.default",
    "aten.unsqueeze.default",
    "aten.expand.default",
}


def affine_call(
    node: torch.fx.Node, source: torch.fx.Node, captured: CapturedProgram, marked: nn.Module
) -> AffineCall | None:
    """The call of an affine module that ``node`` makes; None if it makes none.

    Args:
        node: The only user of ``source``.
        source: A value of shape (N, C, *).
        captured: The program.
        marked: The whole marked model, for paths.
    """
    module = captured.module_of(node)
    if module is None:
        return None
    operator = operator_name(node)
    if operator == "aten.batch_norm.default" and node.args[0] is source:
        tensor = captured.tensor_of(node.args[3])
        if _is_batch_norm(module, node) and tensor is module.running_mean:
            return _named("batch_norm", module, tensor, captured, marked)
    if operator in _SCALINGS and not node.kwargs and len(node.args) == 2:
        tensor = _channel_values(node, source, module, captured)
        if tensor is not None and _does_nothing_else(module, tensor, captured):
            return _named(_SCALINGS[operator], module, tensor, captured, marked)
    return None


def _is_batch_norm(module: nn.Module, node: torch.fx.Node) -> bool:
    plain = isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward
    return plain and node.args[5] is False  # not training: the running statistics


def _channel_values(
    node: torch.fx.Node, source: torch.fx.Node, module: nn.Module, captured: CapturedProgram
) -> Tensor | None:
    """The parameter that a node combines with ``source``, if it has one value per channel."""
    factor = node.args[1] if node.args[0] is source else node.args[0]
    origin = factor
    while isinstance(origin, torch.fx.Node) and operator_name(origin) in _VIEWS:
        if captured.module_of(origin) is not module:
            return None
        origin = origin.args[0]
    tensor = captured.tensor_of(origin)
    if tensor is None or not isinstance(factor, torch.fx.Node):
        return None
    axes, channels = axes_of(source), source.meta["val"].shape[1]
    shape = tuple(factor.meta["val"].shape)
    aligned = (*[1] * (axes - len(shape)), *shape)
    expected = tuple(channels if axis == 1 else 1 for axis in range(axes))
    return tensor if aligned == expected and tensor.numel() == channels else None


def _does_nothing_else(module: nn.Module, tensor: Tensor, captured: CapturedProgram) -> bool:
    """Whether a module holds only one tensor, and calls only one operator, besides views of it."""
    held = [*module.parameters(), *module.buffers()]
    if list(module.children()) or len(held) != 1 or held[0] is not tensor:
        return False
    made = [n for n in captured.program.graph.nodes if captured.module_of(n) is module]
    scalings = [n for n in made if operator_name(n) in _SCALINGS]
    views = [n for n in made if operator_name(n) in _VIEWS]
    calls = {str(node.meta["nn_module_stack"]) for node in scalings}
    return len(scalings) == len(calls) and len(scalings) + len(views) == len(made)


def _named(
    operator: str,
    module: nn.Module,
    tensor: Tensor,
    captured: CapturedProgram,
    marked: nn.Module,
) -> AffineCall:
    memory = next(captured.memory[name] for name, t in captured.tensors.items() if t is tensor)
    return AffineCall(all_names(marked)[id(module)][0], operator, memory)
