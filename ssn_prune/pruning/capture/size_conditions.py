"""Conditions on the sizes of the inputs under which the code takes the captured path.

``torch.export`` follows one path through the code. Where the code branches on a size, it records
the condition that held. A fold relies on nothing else beyond the graph itself. So a pruned network
can check these conditions and refuse other sizes instead of computing wrong outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssn_prune.pruning.capture import guard_text
from ssn_prune.pruning.capture.dynamic_shapes import arguments_by_name, dynamic_axes


@dataclass(frozen=True)
class SizeGuard:
    """One condition on the sizes of the inputs.

    Attributes:
        text: In the form of :mod:`ssn_prune.pruning.capture.guard_text`.
    """

    text: str

    @property
    def readable(self) -> str:
        """The condition with ``name.shape[axis]`` for each size."""
        return guard_text.readable(self.text)

    def holds(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the condition is met.

        Args:
            inputs: Arguments of the network's ``forward`` by name.

        Raises:
            ValueError: The condition has an unknown form, or does not fit these inputs.
        """
        return guard_text.holds(self.text, inputs)


def size_guards(
    program: torch.export.ExportedProgram, model: nn.Module, inputs: tuple[Any, ...]
) -> tuple[SizeGuard, ...]:
    """The conditions that separate the captured path of the code from others.

    Args:
        program: Captured with dynamic sizes.
        model: What was captured; its ``forward`` names the inputs.
        inputs: The example inputs, whose sizes meet all conditions.
    """
    texts: list[str] = list(getattr(program, "_guards_code", ()))
    guards = [SizeGuard(text) for text in texts if guard_text.distinguishes_paths(text)]
    named = arguments_by_name(model, inputs, {})
    unknown = not all(_holds_for_example(guard, named) for guard in guards)
    if unknown:  # conditions of an unknown form: the sizes of the example are safe
        guards = []
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    paths = pytree.tree_flatten_with_path(named)[0]
    for name, (path, leaf) in zip(program.graph_signature.user_inputs, paths, strict=False):
        captured = nodes[name].meta["val"] if isinstance(name, str) and name in nodes else None
        if isinstance(leaf, Tensor) and isinstance(captured, Tensor):
            for axis in dynamic_axes(leaf):
                fixed = isinstance(captured.shape[axis], int) and leaf.shape[axis] > 1
                if fixed or (unknown and axis > 0):
                    where = f"L{pytree.keystr(path)}.size()[{axis}]"
                    guards.append(SizeGuard(f"{where} == {leaf.shape[axis]}"))
    return tuple(dict.fromkeys(guards))


def _holds_for_example(guard: SizeGuard, inputs: Mapping[str, Any]) -> bool:
    """Whether a condition can be evaluated and holds for the example, as it must."""
    try:
        return guard.holds(inputs)
    except (ValueError, ArithmeticError):
        return False
