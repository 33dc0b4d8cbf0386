"""The interpreter of the text in which torch.export records conditions on sizes.

The text is a Python comparison in which inputs are ``L['name']`` and a size is ``.size()[axis]``.
The form is private to torch, so everything that depends on it is here. No code is run: an unknown
expression raises an error.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

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
    "min": min,
    "max": max,
    "mod": operator.mod,
    "floordiv": operator.floordiv,
    "ceil": math.ceil,
    "floor": math.floor,
    "trunc": math.trunc,
    "sqrt": math.sqrt,
    "int": int,
    "float": float,
}


def holds(text: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a condition is met.

    Args:
        text: The condition.
        inputs: Arguments of the network's ``forward`` by name.

    Raises:
        ValueError: The condition has an unknown form, or does not fit these inputs.
    """
    try:
        return bool(_evaluate(ast.parse(text, mode="eval").body, inputs))
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"a condition on other sizes than these: {text}") from error


_LONGEST = 2000  # characters
_LARGEST = 2**53
_HIGHEST_POWER = 8


def require_known(text: str) -> None:
    """Refuse a condition from a file if it is not in torch's form or could be slow to evaluate.

    Raises:
        ValueError: It is one of these.
    """
    problem = "a condition on sizes of an unknown form"
    if len(text) > _LONGEST:
        raise ValueError(problem)
    try:
        known = _is_known(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(problem) from error
    if not known:
        raise ValueError(problem)


def _is_known(node: ast.expr) -> bool:
    """Whether :func:`_evaluate` knows an expression and its numbers are of bounded size."""
    match node:
        case ast.Constant(value):
            return isinstance(value, int | float) and abs(value) <= _LARGEST
        case ast.Subscript(ast.Call(ast.Attribute(value, "size"), [], []), ast.Constant(int())):
            return _is_input(value)
        case ast.Call(ast.Name(name) | ast.Attribute(ast.Name(), name), arguments, []):
            return _function(name) is not None and all(map(_is_known, arguments))
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            return _is_known(operand)
        case ast.BoolOp(_, values):
            return all(map(_is_known, values))
        case ast.BinOp(left, ast.Pow(), ast.Constant(int(power))):  # powers of powers explode
            return 0 <= power <= _HIGHEST_POWER and _is_size(left)
        case ast.BinOp(left, op, right):
            possible = type(op) in _ARITHMETIC and not isinstance(op, ast.Pow)
            return possible and _is_known(left) and _is_known(right)
        case ast.Compare(left, [op], [right]):
            sides = (left, right)
            return type(op) in _COMPARISONS and all(_is_known(s) or _is_input(s) for s in sides)
    return False


def _is_size(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript | ast.Constant) and _is_known(node)


def _is_input(node: ast.expr) -> bool:
    match node:
        case ast.Subscript(ast.Name("L"), ast.Constant(str())):
            return True
        case ast.Subscript(value, ast.Constant(int() | str())):
            return _is_input(value)
    return False


def readable(text: str) -> str:
    """The condition with ``name.shape[axis]`` for each size."""
    return text.replace("L['", "").replace("']", "").replace(".size()[", ".shape[")


def distinguishes_paths(text: str) -> bool:
    """Whether a condition may separate one path of the code from another.

    Conditions that only say that a size is not 1, or how strides are ordered, come from the
    tracer's own checks of the memory layout at nearly every operator.
    """
    node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return True
    sides = (node.left, node.comparators[0])
    constants = [side.value for side in sides if isinstance(side, ast.Constant)]
    if isinstance(node.ops[0], ast.Eq):
        return True
    return bool(constants) and not any(value in (0, 1) for value in constants)


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
        case ast.Call(ast.Name(name) | ast.Attribute(ast.Name(), name), arguments):
            function = _function(name)
            if function is not None:
                return function(*(_evaluate(argument, inputs) for argument in arguments))
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


def _function(name: str) -> Callable[..., Any] | None:
    """A function by its name in torch's text, such as Min, math.ceil or sym_max."""
    return _FUNCTIONS.get(name.removeprefix("sym_").lower())
