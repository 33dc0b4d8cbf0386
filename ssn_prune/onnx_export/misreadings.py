"""What runtimes compute differently from ONNX, without an error, and where a graph has it.

Found with ``benchmarks/runtimes.py``, and by bisecting the outputs of files that were wrong there.
Our own passes leave none of it in a file for that runtime; the user's own code may.
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
    """Something that a runtime gets wrong.

    Attributes:
        runtime: Its name, as that of a target.
        what: The nodes, for people.
        find: Gives them.
        avoided: Whether a file for that runtime has none of it where our own passes can help.
    """

    runtime: str
    what: str
    find: Find
    avoided: bool


def _reductions(graph: ir.Graph) -> Iterator[tuple[ir.Node, int]]:
    """Reductions, and over how many axes; 0 where the graph does not say."""
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


def _of_an_input_sequence(graph: ir.Graph) -> Iterator[ir.Node]:
    """Reductions that no convolution precedes, in a network of sequences."""
    raw = {value for value in graph.inputs if rank(value) == 3}
    for node in graph:
        if node.op_type in _MIXING or not raw.intersection(node.inputs):
            continue
        raw.update(node.outputs)
        if node.op_type.startswith("Reduce"):
            yield node


_MIXING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def _pooled_sequences(graph: ir.Graph) -> Iterator[ir.Node]:
    pools = ("GlobalAveragePool", "AveragePool")
    return (n for n in graph.all_nodes() if n.op_type in pools and rank(n.inputs[0]) == 3)


MISREADINGS: tuple[Misreading, ...] = (
    Misreading("ncnn", "reductions over one axis", _over_one_axis, avoided=True),
    Misreading("ncnn", "means of input sequences", _of_an_input_sequence, avoided=False),
    Misreading("opencv", "reductions over more than two axes", _over_many_axes, avoided=True),
    Misreading("mnn", "average pooling of sequences", _pooled_sequences, avoided=False),
)
"""ncnn 1.0.20261020 with pnnx 20261020, OpenCV 4.14, MNN 3.6."""


def misread(graph: ir.Graph, target: Target) -> tuple[MisreadRecord, ...]:
    """What of a finished graph some runtime gets wrong.

    Args:
        graph: The graph, with its final names.
        target: What it is for. For a portable file every runtime counts, else only its own does.
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
