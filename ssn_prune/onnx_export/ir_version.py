"""The version of the ONNX file format (IR): the oldest one that can store a graph.

Every ONNX release pairs a format version with its operator set. A file needs a newer version only
if its content does, and a newer one shuts out runtimes that could run it. The ONNX checker accepts
any version, so the rules are here. Their source is the comments on ``Version`` in ``onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir
from onnx.helper import find_min_ir_version_for, make_opsetid

from ssn_prune.errors import ArgumentError

_OF_FUNCTIONS_AND_OPTIONALS = 8
_OF_TYPES = {
    ir.DataType.FLOAT8E4M3FN: 9,
    ir.DataType.FLOAT8E4M3FNUZ: 9,
    ir.DataType.FLOAT8E5M2: 9,
    ir.DataType.FLOAT8E5M2FNUZ: 9,
    ir.DataType.UINT4: 10,
    ir.DataType.INT4: 10,
    ir.DataType.FLOAT4E2M1: 11,
    ir.DataType.FLOAT8E8M0: 12,
    ir.DataType.UINT2: 13,
    ir.DataType.INT2: 13,
    ir.DataType.FLOAT6E2M3: 14,
    ir.DataType.FLOAT6E3M2: 14,
}


def ir_version_of_opset(opset: int) -> int:
    """The format version of the ONNX release that introduced an operator set."""
    return find_min_ir_version_for([make_opsetid("", opset)])


def oldest_ir_version(model: ir.Model) -> int:
    """The oldest format version that can store a graph, by its operator set and its content."""
    needed = {ir_version_of_opset(model.opset_imports[""])}
    if model.functions:
        needed.add(_OF_FUNCTIONS_AND_OPTIONALS)
    for value in _values(model):
        if isinstance(value.type, ir.OptionalType):
            needed.add(_OF_FUNCTIONS_AND_OPTIONALS)
        if value.dtype in _OF_TYPES:
            needed.add(_OF_TYPES[value.dtype])
    return max(needed)


def require_ir_version(given: int | None, oldest: int, needed_by: str) -> None:
    """Refuse a format version that a file cannot have.

    Args:
        given: The version that was asked for; None for the oldest one.
        oldest: The oldest version that the file can have.
        needed_by: What needs that version, in words.

    Raises:
        ArgumentError: The version is older, or the installed ``onnx`` does not know it.
    """
    newest = onnx.IR_VERSION
    if given is None or oldest <= given <= newest:
        return
    raise ArgumentError(
        f"the file cannot have ONNX format version {given}",
        expected=f"{oldest} to {newest}: {needed_by} needs {oldest}, and the installed onnx knows "
        f"no newer one than {newest}",
        found=f"`ir_version={given}`",
        hint=f"leave `ir_version=` out to get {oldest}, which most runtimes read",
    )


def _values(model: ir.Model) -> Iterator[ir.Value]:
    graphs = [model.graph, *model.graph.subgraphs()]
    for graph in graphs:
        yield from graph.inputs
        yield from graph.initializers.values()
    for node in model.graph.all_nodes():
        yield from node.outputs
