"""What a captured path supposes of the sizes of the inputs.

``torch.export`` follows one path through the code. Where code branches on a size, it notes the
condition that held. Those conditions are all that a fold relies on beyond the graph itself, so a
pruned network can check them and refuse other sizes instead of answering wrongly.
"""

from __future__ import annotations

import ast
import inspect
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Min": min,
    "Max": max,
    "min": min,
    "max": max,
    "Mod": operator.mod,
    "FloorDiv": operator.floordiv,
    "ceil": math.ceil,
    "floor": math.floor,
    "trunc": math.trunc,
    "sqrt": math.sqrt,
    "sym_max": max,
    "sym_min": min,
    "sym_int": int,
    "sym_float": float,
    "sym_sqrt": math.sqrt,
    "int": int,
    "float": float,
}


@dataclass(frozen=True)
class SizeGuard:
    """One condition on the sizes of the inputs.

    Attributes:
        text: As a Python comparison, with the inputs as ``L['name']``.
    """

    text: str

    @property
    def readable(self) -> str:
        """The condition with ``name.size(axis)`` for each size."""
        return self.text.replace("L['", "").replace("']", "").replace(".size()[", ".shape[")

    def holds(self, inputs: Mapping[str, Any]) -> bool:
        """Whether it is met.

        Args:
            inputs: Arguments of the network's ``forward`` by name.

        Raises:
            ValueError: The condition has a form that is not known.
        """
        return bool(_evaluate(ast.parse(self.text, mode="eval").body, inputs))


def _evaluate(node: ast.expr, inputs: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.Name("L"):
            return inputs
        case ast.Subscript(value, index):
            return _evaluate(value, inputs)[_evaluate(index, inputs)]
        case ast.Call(ast.Attribute(value, "size"), []):
            return _evaluate(value, inputs).shape
        case ast.Call(ast.Name(name), arguments) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_evaluate(argument, inputs) for argument in arguments))
        case ast.Call(ast.Attribute(ast.Name(), name), arguments) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_evaluate(argument, inputs) for argument in arguments))
        case ast.UnaryOp(ast.USub(), operand):
            return -_evaluate(operand, inputs)
        case ast.UnaryOp(ast.Not(), operand):
            return not _evaluate(operand, inputs)
        case ast.BoolOp(ast.And(), values):
            return all(_evaluate(value, inputs) for value in values)
        case ast.BoolOp(ast.Or(), values):
            return any(_evaluate(value, inputs) for value in values)
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_evaluate(left, inputs), _evaluate(right, inputs))
        case ast.Compare(left, [op], [right]) if type(op) in _COMPARISONS:
            return _COMPARISONS[type(op)](_evaluate(left, inputs), _evaluate(right, inputs))
    raise ValueError(f"a condition on sizes of an unknown form: {ast.unparse(node)}")


def size_guards(
    program: torch.export.ExportedProgram, model: nn.Module, inputs: tuple[Any, ...]
) -> tuple[SizeGuard, ...]:
    """The conditions that tell a path of the code from another.

    Conditions that only say that something is not 1, or how strides are ordered, come from the
    tracer's own questions about memory layout at nearly every operator, and are left out.

    Args:
        program: Captured with open sizes.
        model: What was captured; its ``forward`` names the inputs.
        inputs: The example inputs, whose sizes meet all conditions.
    """
    guards = [SizeGuard(text) for text in getattr(program, "_guards_code", ()) if _tells(text)]
    named = arguments_by_name(model, inputs, {})
    if not all(_understood(guard, named) for guard in guards):
        guards = []  # conditions of an unknown form: the sizes of the example are safe
        unknown = True
    else:
        unknown = False
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    paths = pytree.tree_flatten_with_path(named)[0]
    for name, (path, leaf) in zip(program.graph_signature.user_inputs, paths, strict=False):
        captured = nodes[name].meta["val"] if isinstance(name, str) and name in nodes else None
        if isinstance(leaf, Tensor) and isinstance(captured, Tensor):
            for axis in open_axes(leaf):
                fixed = isinstance(captured.shape[axis], int) and leaf.shape[axis] > 1
                if fixed or (unknown and axis > 0):
                    where = f"L{pytree.keystr(path)}.size()[{axis}]"
                    guards.append(SizeGuard(f"{where} == {leaf.shape[axis]}"))
    return tuple(dict.fromkeys(guards))


def _understood(guard: SizeGuard, inputs: Mapping[str, Any]) -> bool:
    """Whether a condition can be evaluated and holds for the example, as it must."""
    try:
        return guard.holds(inputs)
    except (ValueError, ArithmeticError):
        return False


def arguments_by_name(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by the names that ``forward`` gives them."""
    return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)


def _tells(text: str) -> bool:
    node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return True
    sides = (node.left, node.comparators[0])
    ones = any(isinstance(side, ast.Constant) and side.value in (0, 1) for side in sides)
    constants = any(isinstance(side, ast.Constant) for side in sides)
    equality = isinstance(node.ops[0], ast.Eq)
    return equality or (constants and not ones)


def open_axes(tensor: Tensor) -> tuple[int, ...]:
    """Axes of an input that may have other sizes: all but that of the channels."""
    return tuple(axis for axis in range(tensor.dim()) if axis != 1)


def dynamic_shapes(
    model: nn.Module, inputs: tuple[Any, ...], axes: Callable[[Tensor], dict[int, Any]]
) -> dict[str, Any]:
    """The argument ``dynamic_shapes`` of ``torch.export.export``, also for ``forward(*inputs)``.

    Args:
        model: What is exported.
        inputs: Inputs of one call.
        axes: What is open of a tensor.
    """

    def shape(leaf: Any) -> dict[int, Any] | None:
        return axes(leaf) if isinstance(leaf, Tensor) else None

    named = arguments_by_name(model, inputs, {})
    return {name: pytree.tree_map(shape, value) for name, value in named.items()}


class SizeCheck:
    """A forward pre-hook of a pruned network: refuses sizes for which a fold may be wrong.

    Args:
        guards: What has to hold.
    """

    def __init__(self, guards: tuple[SizeGuard, ...]) -> None:
        self.guards = guards

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check one call.

        Raises:
            ValueError: A condition does not hold.
        """
        if torch.compiler.is_compiling():
            return  # the sizes are symbols, and the exporter keeps its own conditions
        inputs = arguments_by_name(module, args, kwargs)
        for guard in self.guards:
            if not guard.holds(inputs):
                raise ValueError(
                    f"this network was pruned for inputs with {guard.readable}, since its code or "
                    "its layers depend on that; prune again with an example of the other size"
                )
