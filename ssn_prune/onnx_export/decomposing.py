"""Decomposition of a captured program without tracing it a second time.

``torch.onnx.export`` begins with ``run_decompositions``, which runs the whole program once more
under several tracers, with open sizes: two thirds of the time of a translation. In a convolutional
network little comes of it. Operators that write to their input become such that do not, and a few
composite ones become others. Both can be done on the graph itself, if it has no operator that is
not listed here and nobody looks at what was written to; otherwise torch does it.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor
from torch.fx import Node

_IN_PLACE = frozenset(
    f"aten.{name}"
    for name in (
        "add_.Tensor",
        "div_.Tensor",
        "elu_.default",
        "hardswish_.default",
        "hardtanh_.default",
        "leaky_relu_.default",
        "mul_.Tensor",
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
"""Operators whose result may lie in the memory of their first argument."""

_OTHERS = frozenset(
    f"aten.{name}"
    for name in (
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
        "sym_size.int",
        "tanh.default",
        "upsample_bilinear2d.vec",
        "upsample_nearest2d.vec",
    )
)
"""Operators with a result of its own memory, which the exporter translates as they are."""

_ON_SIZES = frozenset({operator.add, operator.floordiv, operator.mul, operator.sub})

_POOLS = frozenset(f"aten.adaptive_avg_pool{dims}d.default" for dims in (2, 3))
_DROPOUTS = frozenset({"aten.dropout.default", "aten.dropout_.default"})
_CAST = "aten.to.dtype"
_BATCH_NORM = "aten.batch_norm.default"
_ASSERTION = "aten._assert_tensor_metadata.default"


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
    # The exporter asks every program to decompose itself.
    program.run_decompositions = lambda *_: program
    return True


def unknown_operators(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """Names of the operators, and uses of operators, that torch has to decompose."""
    nodes: list[Node] = list(program.graph.nodes)
    return tuple(dict.fromkeys(str(node.target) for node in nodes if not _is_known(node)))


def _is_known(node: Node) -> bool:
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    name = str(node.target)
    if name in _IN_PLACE:
        return _keeps_its_dtype(node)
    if name in _POOLS:
        return len(node.args) == 2 and set(node.args[1]) == {1}  # type: ignore[arg-type]
    if name == _BATCH_NORM:
        statistics, training = node.args[3:5], node.args[5]
        return not training and None not in statistics
    if name in _DROPOUTS or name == _CAST:
        return _has_no_effect(node) and all(user.op != "output" for user in node.users)
    if name == _ASSERTION:
        return not node.users
    on_sizes = node.target in _ON_SIZES and isinstance(_value(node), int | torch.SymInt)
    return name in _OTHERS or name in _VIEWS or node.target is operator.getitem or on_sizes


def _value(node: object) -> object:
    return node.meta.get("val") if isinstance(node, Node) else None


def _keeps_its_dtype(node: Node) -> bool:
    """Whether the operator that does not write to its argument would give the same dtype."""
    values = [_value(used) for used in node.all_input_nodes]
    dtypes = {value.dtype if isinstance(value, Tensor) else None for value in values}
    target = _value(node.args[0])
    return len(dtypes) == 1 and isinstance(target, Tensor) and target.is_floating_point()


def _has_no_effect(node: Node) -> bool:
    """Whether a dropout is off, or a cast is to the dtype that its argument has."""
    if node.kwargs:
        return False
    if str(node.target) in _DROPOUTS:
        return not node.args[2]
    before = _value(node.args[0])
    return len(node.args) == 2 and isinstance(before, Tensor) and before.dtype == node.args[1]


def _writes_are_unseen(nodes: list[Node]) -> bool:
    """Whether nothing reads memory that was written to, but through the result of the writing."""
    place = {node: index for index, node in enumerate(nodes)}
    # Of each value: all values so far that may lie in the same memory.
    sharing: dict[Node, list[Node]] = {}
    for node in nodes:
        name, first = str(node.target), node.args[0] if node.args else None
        if name in _IN_PLACE and isinstance(first, Node):
            shared = sharing[first]
            if any(other.op == "placeholder" for other in shared):
                return False  # the caller's inputs, or the network's parameters
            if any(place[user] > place[node] for other in shared for user in other.users):
                return False
        views = name in _VIEWS or name in _DROPOUTS or name == _CAST
        views |= node.target is operator.getitem
        shared = sharing[first] if views and isinstance(first, Node) else []
        sharing[node] = shared
        shared.append(node)
    return True


def _rewrite(node: Node) -> None:
    name, graph = str(node.target), node.graph
    if name in _IN_PLACE:
        _, functional, overload = name.split(".")
        node.target = getattr(getattr(torch.ops.aten, functional[:-1]), overload)
    elif name in _POOLS:
        axes = [-1, -2, -3][: len(node.args[1])]  # type: ignore[arg-type]
        node.target, node.args = torch.ops.aten.mean.dim, (node.args[0], axes, True)
    elif name == _BATCH_NORM:
        x, weight, bias, mean, var, _, momentum, eps, *_ = node.args
        with graph.inserting_before(node):
            whole = graph.call_function(
                torch.ops.aten._native_batch_norm_legit_no_training.default,
                (x, weight, bias, mean, var, momentum, eps),
            )
        value: Tensor = node.meta["val"]
        whole.meta = {**node.meta, "val": (value, value.new_empty(0), value.new_empty(0))}
        # The node itself stays: the program knows its outputs by their names.
        node.target, node.args, node.kwargs = operator.getitem, (whole, 0), {}
    elif name in _DROPOUTS or name == _CAST:
        taken = node.args[0]
        assert isinstance(taken, Node)  # see _has_no_effect
        node.replace_all_uses_with(taken)
        graph.erase_node(node)
    elif name == _ASSERTION:
        graph.erase_node(node)
