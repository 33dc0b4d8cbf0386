"""What runtimes compute differently from ONNX without an error, and where it is in a graph.

The rows were found with ``benchmarks/runtimes.py``, and by bisecting the outputs of files that were
wrong there. In a file for that runtime, our own layers have none of it, but the user's code may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ssn_prune.onnx_export.passes.editing import rank
from ssn_prune.onnx_export.results import MisreadRecord
from ssn_prune.onnx_export.targets import PORTABLE, Target

Find = Callable[[ir.Graph], Iterator[ir.Node]]


@dataclass(frozen=True)
class Misreading:
    """A kind of node that a runtime computes wrongly.

    Attributes:
        runtime: Name of the runtime, which is also that of its target.
        what: The nodes, for people.
        find: Finds these nodes in a graph.
        avoided: Whether the passes for that target can remove them.
    """

    runtime: str
    what: str
    find: Find
    avoided: bool


def _reductions(graph: ir.Graph) -> Iterator[tuple[ir.Node, int]]:
    """All reductions, each with its number of axes; 0 where the graph does not say."""
    for node in graph.all_nodes():
        if node.domain or not node.op_type.startswith("Reduce"):
            continue
        count = rank(node.inputs[0])
        if "axes" in node.attributes:
            count = len(node.attributes["axes"].as_ints())
        elif len(node.inputs) > 1 and node.inputs[1] is not None:
            axes = node.inputs[1].const_value
            count = 0 if axes is None else axes.size
        yield node, count


def _over_one_axis(graph: ir.Graph) -> Iterator[ir.Node]:
    return (node for node, count in _reductions(graph) if count == 1 and rank(node.inputs[0]) > 2)


def _over_many_axes(graph: ir.Graph) -> Iterator[ir.Node]:
    return (node for node, count in _reductions(graph) if count > 2)


def _of_vectors(graph: ir.Graph) -> Iterator[ir.Node]:
    return (node for node, _ in _reductions(graph) if rank(node.inputs[0]) == 2)


def _norms_of_saturated(graph: ir.Graph) -> Iterator[ir.Node]:
    """BatchNormalization of a sigmoid or a tanh whose result is an output of the file."""
    for node in graph:
        if node.op_type == "BatchNormalization" and node.outputs[0].is_graph_output():
            producer = None if node.inputs[0] is None else node.inputs[0].producer()
            if producer is not None and producer.op_type in ("Sigmoid", "Tanh"):
                yield node


def _broadcast_volumes(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph.all_nodes():
        if node.op_type in ("Add", "Sub", "Mul", "Div") and max(map(rank, node.inputs)) == 5:
            first, second = (None if value is None else value.shape for value in node.inputs)
            if first != second:
                yield node


def _norms_of_planes(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph.all_nodes():
        if node.op_type == "InstanceNormalization" and rank(node.inputs[0]) == 4:
            yield node


MISREADINGS: tuple[Misreading, ...] = (
    Misreading("ncnn", "reductions over one axis", _over_one_axis, avoided=True),
    Misreading("ncnn", "some reductions of vectors", _of_vectors, avoided=False),
    Misreading("opencv", "InstanceNormalization of large means", _norms_of_planes, avoided=True),
    Misreading("opencv", "reductions over more than two axes", _over_many_axes, avoided=True),
    Misreading("tflite", "broadcasting of volumes", _broadcast_volumes, avoided=False),
    Misreading(
        "opencv", "norms of Sigmoid and Tanh as outputs", _norms_of_saturated, avoided=False
    ),
)
"""As found in ncnn 1.0.20261020 with pnnx 20261020, in TFLite through onnx2tf 1.29.24, and in
OpenCV 4.14 (its first two rows) and 5.0 (its last)."""


def misread(graph: ir.Graph, target: Target) -> tuple[MisreadRecord, ...]:
    """The nodes of a finished graph that some runtime computes wrongly.

    Args:
        graph: The graph, with its final names.
        target: What the file is for. For a portable file all runtimes count, else only its own.
    """
    portable = target.name == PORTABLE
    found = []
    for row in MISREADINGS:
        if not portable and target.name != row.runtime:
            continue
        nodes = list(row.find(graph))
        if nodes:
            modules = tuple(dict.fromkeys(_module(node) for node in nodes))
            cure = row.runtime if row.avoided and portable else None
            found.append(MisreadRecord(row.runtime, row.what, modules, cure))
    return tuple(found)


def _module(node: ir.Node) -> str:
    """The module that a node of a finished graph is named after."""
    return str(node.name).rpartition("/")[0] or "the network itself"
