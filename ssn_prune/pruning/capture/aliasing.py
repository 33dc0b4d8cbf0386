"""Values that share memory in a captured graph, and what is written to later."""

from __future__ import annotations

import operator
from typing import Any

import torch

from ssn_prune.pruning.capture.fx_utils import operator_name

# Their schemas promise a new tensor, but in evaluation mode they return their input.
_PASSING = ("aten.dropout.", "aten.feature_dropout.", "aten.alpha_dropout.")


def overwritten_after(node: torch.fx.Node, value: torch.fx.Node) -> bool:
    """Whether the memory of ``value`` is written to after ``node`` has run.

    Args:
        node: A user of the value, with a copy of it as its result.
        value: A tensor.
    """
    root, later = _root(value), False
    for other in node.graph.nodes:
        if later and any(_root(written) is root for written in _written(other)):
            return True
        later = later or other is node
    return False


def _root(value: torch.fx.Node) -> torch.fx.Node:
    """The node that made the memory of a value."""
    while (source := _shares_with(value)) is not None:
        value = source
    return value


def _shares_with(node: torch.fx.Node) -> torch.fx.Node | None:
    if node.op != "call_function" or not node.args:
        return None
    first = node.args[0]
    if not isinstance(first, torch.fx.Node):
        return None
    if node.target is operator.getitem or operator_name(node).startswith(_PASSING):
        return first
    schema = getattr(node.target, "_schema", None)
    returns = schema.returns if schema is not None else ()
    return first if any(value.alias_info is not None for value in returns) else None


def _written(node: torch.fx.Node) -> list[torch.fx.Node]:
    schema: Any = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    written = []
    for position, declared in enumerate(schema.arguments):
        if declared.alias_info is not None and declared.alias_info.is_write:
            value = node.kwargs.get(declared.name)
            value = node.args[position] if position < len(node.args) else value
            written += [value] if isinstance(value, torch.fx.Node) else []
    return written
