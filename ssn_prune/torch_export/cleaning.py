"""Remove traces of the machine and the data that a program was made with.

torch.export records the source lines of every call, with their paths, and the example inputs of the
program. Both would be in the file, and so would the rest of the memory that a weight is a slice of.
Only the path of the module in the network is kept, which quantizers and profilers use. Classes are
named only if they are torch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

_KEPT = ("val", "unbacked_bindings")
_MODULES = "nn_module_stack"


def remove_traces(program: torch.export.ExportedProgram) -> None:
    """Remove the traces, in place; the example inputs become zeros.

    Args:
        program: Owned by the caller.
    """
    for module in program.graph_module.modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        module.meta = {}
        for node in module.graph.nodes:
            kept = {key: node.meta[key] for key in _KEPT if key in node.meta}
            if _MODULES in node.meta:
                kept[_MODULES] = _named_by_torch(node.meta[_MODULES])
            node.meta = kept
    program.example_inputs = pytree.tree_map(_zeros, program.example_inputs)
    own: dict[tuple[Any, ...], Tensor] = {}
    for held in (program.state_dict, program.constants):
        for name, value in held.items():
            if isinstance(value, Tensor):
                held[name] = _with_own_memory(value, own)


def _named_by_torch(stack: dict[str, tuple[str, Any]]) -> dict[str, tuple[str, str]]:
    """The modules around a call, by path; classes that are not torch's become nn.Module."""
    return {key: (path, _class_name(kind)) for key, (path, kind) in stack.items()}


def _class_name(kind: Any) -> str:
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return name if name.startswith("torch.nn.") else f"{nn.Module.__module__}.Module"


def _with_own_memory(value: Tensor, own: dict[tuple[Any, ...], Tensor]) -> Tensor:
    """A tensor with memory of its own if it is a slice of larger memory, which would be saved.

    Args:
        value: The tensor.
        own: Copies made so far, keyed by their source: a tensor with two names stays one.
    """
    memory = value.untyped_storage()
    if memory.nbytes() <= value.numel() * value.element_size():
        return value
    place = (value.data_ptr(), value.dtype, value.shape, value.stride())
    if place not in own:
        copy = value.detach().clone()
        kept = isinstance(value, nn.Parameter)
        own[place] = nn.Parameter(copy, value.requires_grad) if kept else copy
    return own[place]


def _zeros(leaf: Any) -> Any:
    return torch.zeros_like(leaf) if isinstance(leaf, Tensor) else leaf
