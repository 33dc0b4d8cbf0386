"""Decomposition of a captured program without tracing it a second time.

``torch.onnx.export`` begins with ``run_decompositions``, which runs the whole program once more
under several tracers, with open sizes: two thirds of the time of a translation. In a convolutional
network little comes of it: operators that write to their input become such that do not, operators
without an effect go, and a few are replaced by others. That can be done on the graph itself, if it
has no operator that is not listed here, and if nothing reads memory that was written to but through
the result of the writing. Otherwise torch does it.
"""

from __future__ import annotations

import operator
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

_IN_PLACE = frozenset(
    f"aten.{name}"
    for name in (
        "add_.Tensor",
        "div_.Tensor",
        "elu_.default",
        "hardsigmoid_.default",
        "hardswish_.default",
        "hardtanh_.default",
        "leaky_relu_.default",
        "mul_.Tensor",
        "relu6_.default",
        "relu_.default",
        "sigmoid_.default",
        "silu_.default",
        "sub_.Tensor",
    )
)
"""Operators on every entry by itself, which write to their first argument."""

_VIEWS = frozenset(
    f"aten.{name}"
    for name in (
        "chunk.default",
        "contiguous.default",
        "detach.default",
        "expand.default",
        "flatten.using_ints",
        "permute.default",
        "reshape.default",
        "select.int",
        "slice.Tensor",
        "split.Tensor",
        "split_with_sizes.default",
        "squeeze.dim",
        "transpose.int",
        "unbind.int",
        "unsqueeze.default",
        "view.default",
    )
)
"""Operators whose result may lie in the memory of their first argument.

torch would decompose four of them. ``chunk`` and ``reshape`` are decomposed here, too, because the
exporter's own translations fail where a part is left over or a size is 0. What it makes of
``flatten`` and ``contiguous`` is as good.
"""

_OTHERS = frozenset(
    f"aten.{name}"
    for name in (
        "_assert_tensor_metadata.default",
        "add.Tensor",
        "avg_pool1d.default",
        "avg_pool2d.default",
        "avg_pool3d.default",
        "cat.default",
        "conv1d.default",
        "conv2d.default",
        "conv3d.default",
        "div.Tensor",
        "elu.default",
        "gelu.default",
        "group_norm.default",
        "hardsigmoid.default",
        "hardswish.default",
        "hardtanh.default",
        "instance_norm.default",
        "layer_norm.default",
        "leaky_relu.default",
        "linear.default",
        "matmul.default",
        "max_pool1d.default",
        "max_pool2d.default",
        "max_pool3d.default",
        "mean.default",
        "mean.dim",
        "mul.Tensor",
        "neg.default",
        "pad.default",
        "pow.Tensor_Scalar",
        "relu.default",
        "relu6.default",
        "rsqrt.default",
        "sigmoid.default",
        "silu.default",
        "softmax.int",
        "sqrt.default",
        "stack.default",
        "sub.Tensor",
        "sum.dim_IntList",
        "tanh.default",
        "upsample_bilinear2d.vec",
        "upsample_nearest2d.vec",
    )
)
"""Operators with a result of its own memory, which the exporter translates as they are."""

_ON_SIZES = frozenset({operator.add, operator.floordiv, operator.mul, operator.sub})
_SIZE = "aten.sym_size.int"

_CHUNK, _RESHAPE = "aten.chunk.default", "aten.reshape.default"
_POOLS = frozenset(f"aten.adaptive_avg_pool{dims}d.default" for dims in (2, 3))
_DROPOUTS = frozenset({"aten.dropout.default", "aten.dropout_.default"})
_CAST, _FLATTEN = "aten.to.dtype", "aten.flatten.using_ints"
_BATCH_NORM = "aten.batch_norm.default"


def decompose(program: torch.export.ExportedProgram) -> bool:
    """Decompose a program in place, so that ``torch.onnx.export`` need not.

    Args:
        program: As captured by ``torch.export.export``.

    Returns:
        Whether it has been done; if not, the program is as it was.
    """
    nodes = list(program.graph.nodes)
    if unknown_operators(program) or not _writes_are_unseen(nodes):
        return False
    for node in nodes:
        if node.op == "call_function":
            _rewrite(node)
    # The exporter asks every program to decompose itself. No cycle: it holds the weights.
    itself = weakref.ref(program)
    program.run_decompositions = lambda *_, **__: itself()
    return True


def unknown_operators(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """Names of the operators, and uses of operators, that torch has to decompose."""
    nodes: list[Node] = list(program.graph.nodes)
    return tuple(dict.fromkeys(str(node.target) for node in nodes if not _is_known(node)))


def _is_known(node: Node) -> bool:
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    value, name = _value(node), str(node.target)
    if isinstance(value, Tensor) and value.is_complex():
        return False
    if name in _IN_PLACE:
        return _keeps_its_dtype(node)
    if name in _POOLS:
        return len(node.args) == 2 and set(_arguments(node)[1]) == {1}
    if name == _BATCH_NORM:
        return not node.args[5]  # training
    if name == _CHUNK:
        size = _chunked_size(node)
        return isinstance(size, int) and size > 0
    if name in _DROPOUTS or name == _CAST:
        return _gives_its_argument(node)
    if node.target in _ON_SIZES or name == _SIZE:
        return isinstance(value, int | torch.SymInt)
    return name in _OTHERS or name in _VIEWS or node.target is operator.getitem


def _value(node: object) -> object:
    return node.meta.get("val") if isinstance(node, Node) else None


def _keeps_its_dtype(node: Node) -> bool:
    """Whether the operator that does not write to its argument would give the same dtype."""
    values = [_value(used) for used in node.all_input_nodes]
    return len({value.dtype if isinstance(value, Tensor) else None for value in values}) == 1


def _arguments(node: Node) -> tuple[Any, ...]:
    """What torch types as a union of everything that an argument can be."""
    return tuple(node.args)


def _chunked_size(node: Node) -> Any:
    """The size of the axis that is divided."""
    x, _, *axis = _arguments(node)
    return x.meta["val"].shape[axis[0] if axis else 0]


def _gives_its_argument(node: Node) -> bool:
    """Whether it is a dropout that is off, a cast to the same dtype or a flattening of one axis."""
    name, before, after = str(node.target), _value(node.args[0]), _value(node)
    if name in _DROPOUTS:
        return not node.args[2]
    if not (isinstance(before, Tensor) and isinstance(after, Tensor)):
        return False
    if name == _CAST:
        return len(node.args) == 2 and not node.kwargs and before.dtype == after.dtype
    return name == _FLATTEN and before.dim() == after.dim()


def _writes_are_unseen(nodes: list[Node]) -> bool:
    """Whether nothing reads memory that was written to, but through the result of the writing."""
    place = {node: index for index, node in enumerate(nodes)}
    # Of each value: all values so far that may lie in the same memory, itself among them.
    together: dict[Node, list[Node]] = {}
    for node in nodes:
        first = node.args[0] if node.args else None
        aliases = together[first] if isinstance(first, Node) else []
        if str(node.target) in _IN_PLACE:
            if any(alias.op == "placeholder" for alias in aliases):
                return False  # the caller's inputs, or the network's parameters
            if any(place[user] > place[node] for alias in aliases for user in alias.users):
                return False
        # The result of a write starts anew: nobody reads the older values any more.
        together[node] = aliases if _is_view(node) else []
        together[node].append(node)
    return True


def _is_view(node: Node) -> bool:
    """Whether a result may lie in the memory of the first argument."""
    name = str(node.target)
    taken = node.target is operator.getitem  # one of several results
    return name in _VIEWS or name in _DROPOUTS or name == _CAST or taken


def _rewrite(node: Node) -> None:
    name, aten = str(node.target), torch.ops.aten
    if name in _IN_PLACE:
        _, functional, overload = name.split(".")
        node.target = getattr(getattr(aten, functional[:-1]), overload)
    elif name in _POOLS:
        axes = [-1, -2, -3][: len(_arguments(node)[1])]
        node.target, node.args = aten.mean.dim, (node.args[0], axes, True)
    elif name == _BATCH_NORM:
        x, weight, bias, mean, var, _, momentum, eps, *_ = node.args
        value: Tensor = node.meta["val"]
        target = aten._native_batch_norm_legit_no_training.default
        parts = (value, value.new_empty(0), value.new_empty(0))
        whole = _before(node, target, (x, weight, bias, mean, var, momentum, eps), parts)
        node.target, node.args = operator.getitem, (whole, 0)
    elif name == _CHUNK:
        x, chunks, *axis = _arguments(node)
        size = -(-_chunked_size(node) // chunks)
        node.target, node.args = aten.split.Tensor, (x, size, *axis)
    elif name == _RESHAPE:
        x, shape = _arguments(node)
        value = x.meta["val"]
        form = torch.contiguous_format
        copied = _before(node, aten.clone.default, (x,), value.clone(memory_format=form))
        copied.kwargs = {"memory_format": form}
        node.target, node.args = aten.view.default, (copied, shape)
    elif name in _DROPOUTS or name == _CAST or (name == _FLATTEN and _gives_its_argument(node)):
        node.target, node.args = aten.alias.default, node.args[:1]


def _before(node: Node, target: Any, args: tuple[Any, ...], value: object) -> Node:
    """A new node in front of another, which stays: outputs are known by their names."""
    with node.graph.inserting_before(node):
        made = node.graph.call_function(target, args)
    made.meta = {**node.meta, "val": value}
    return made
