"""Helpers for captured graphs: tensors, modules, arguments, and uses of nodes."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.pruning.capture.tensor_identity import named_tensors

NETWORK_OUTPUT = "network output"


class CapturedProgram:
    """A captured module, and the tensors and modules that its graph's names refer to.

    Names are unreliable (an aliased module appears under one of its names only), so parameters are
    identified by the memory they occupy.

    Args:
        program: The capture.
        module: What was captured, a marked model or a part of it.
        memory: Memory ids by ``id(tensor)``, over the whole marked model.

    Attributes:
        tensors: Parameters and buffers by the name of their placeholder.
        memory: Their memory ids, by the same names.
    """

    def __init__(
        self, program: torch.export.ExportedProgram, module: nn.Module, memory: dict[int, int]
    ) -> None:
        self.program, self.module = program, module
        signature = program.graph_signature
        targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        held = dict(named_tensors(module))
        self.tensors: dict[str, Tensor] = {n: held[t] for n, t in targets.items() if t in held}
        self.memory = {name: memory[id(tensor)] for name, tensor in self.tensors.items()}

    def tensor_of(self, value: Any) -> Tensor | None:
        """The parameter or buffer behind a node; None if the value is neither."""
        return self.tensors.get(value.name) if isinstance(value, torch.fx.Node) else None

    def memory_of(self, value: Any) -> int | None:
        """The memory id of the parameter or buffer behind a node; None if the value is neither."""
        return self.memory.get(value.name) if isinstance(value, torch.fx.Node) else None

    def module_of(self, node: torch.fx.Node) -> nn.Module | None:
        """The innermost module whose code made a node; None if it is not known."""
        stack = node.meta.get("nn_module_stack")
        if not stack:
            return None
        path = re.sub(r"@\d+", "", str(list(stack.values())[-1][0]))  # the second call is name@1
        try:
            return self.module.get_submodule(path)
        except AttributeError:
            return None

    def regions(self) -> list[torch.fx.GraphModule]:
        """Graphs inside the graph: no_grad and autocast regions, branches, checkpoints.

        What they use of the outer graph counts as an ordinary use there. Nothing inside is folded.
        """
        outer = self.program.graph_module
        inner = outer.modules()
        return [m for m in inner if isinstance(m, torch.fx.GraphModule) and m is not outer]


def operator_name(node: torch.fx.Node) -> str:
    """Name of a node's operator, such as ``aten.conv2d.default``; words for an input or output."""
    if node.op in ("placeholder", "output"):
        return "network input" if node.op == "placeholder" else NETWORK_OUTPUT
    name = getattr(node.target, "__name__", "")  # operator.getitem and the like
    return str(node.target) if isinstance(node.target, torch._ops.OpOverload) else name


def argument(node: torch.fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, whether it was passed by position or by name."""
    value = node.args[position] if len(node.args) > position else node.kwargs.get(name)
    return default if value is None else value


def axes_of(node: Any) -> int:
    """Number of axes of a node's tensor; 0 if its value is not a tensor."""
    value = node.meta.get("val")
    return value.dim() if isinstance(value, Tensor) else 0


def positions_of(node: Any) -> int | None:
    """Positions of a plane in the example, also with dynamic sizes; None if they depend on data."""
    sizes = [_hint(size) for size in node.meta["val"].shape[2:]]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def shape_of(node: Any) -> tuple[int, ...] | None:
    """Shape of a node's tensor in the example; None if it depends on data, or is not a tensor."""
    value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
    if not isinstance(value, Tensor):
        return None
    sizes = [_hint(size) for size in value.shape]
    known = tuple(size for size in sizes if size is not None)
    return known if len(known) == len(sizes) else None


def _hint(size: Any) -> int | None:
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return int(hint) if hint is not None else None


def use_count(node: torch.fx.Node) -> int:
    """How often a node's value is used. Returning it counts as a use."""
    return sum(_argument_count(user, node) for user in node.users)


def only_user(node: torch.fx.Node) -> torch.fx.Node | None:
    """The node that uses a value, if it is used exactly once."""
    return next(iter(node.users)) if use_count(node) == 1 else None


def _argument_count(user: torch.fx.Node, node: torch.fx.Node) -> int:
    found = 0

    def count(value: torch.fx.Node) -> torch.fx.Node:
        nonlocal found
        found += value is node
        return value

    torch.fx.map_arg((user.args, user.kwargs), count)
    return found
