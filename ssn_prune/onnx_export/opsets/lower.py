"""Write a graph in an older operator set than torch's exporter can, or say what prevents it.

``onnx.version_converter`` lacks adapters for operators in our files.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass

from ssn_prune.errors import ExportError
from ssn_prune.onnx_export.names import module_path
from ssn_prune.onnx_export.opsets.definitions import (
    EXPORTED_OPSET,
    lacking,
    needless_attributes,
)
from ssn_prune.onnx_export.opsets.table import RESPELLINGS, Respelling
from ssn_prune.onnx_export.options import NEWEST_OPSET

_SHOWN = 4


def lower(model: ir.Model, opset: int) -> None:
    """Convert a graph of operator set 18 to that set or an older one, in place.

    Values keep their names.

    Args:
        model: The graph, with the exporter's metadata on which module each node comes from.
        opset: The operator set. Newer sets need no change, because the exporter writes them itself.

    Raises:
        ExportError: The operator set lacks something that the graph needs.
    """
    if opset > EXPORTED_OPSET:
        return
    respelled = [_respell(model, entry) for entry in RESPELLINGS if opset < entry.since]
    _require_defined(model, opset)
    if opset == EXPORTED_OPSET and not any(respelled):
        return
    for node in model.graph.all_nodes():
        for name in needless_attributes(node, opset):
            del node.attributes[name]
    RemoveUnusedNodesPass()(model)
    NameFixPass()(model)
    model.graph.opset_imports[""] = opset


def _respell(model: ir.Model, entry: Respelling) -> bool:
    changed = False
    for node in list(model.graph.all_nodes()):
        if not node.domain and node.op_type in entry.operators:
            assert isinstance(node.graph, ir.Graph)  # the whole graph, or a branch
            changed |= entry.rewrite(node.graph, node)
    return changed


def _require_defined(model: ir.Model, opset: int) -> None:
    places: dict[str, list[str]] = {}
    needed = opset
    for node in model.graph.all_nodes():
        what = lacking(node, opset)
        if what is not None:
            places.setdefault(what, []).append(module_path(node) or "the network itself")
            needed = max(needed, _first_with(node, opset))
    if places:
        raise ExportError(
            f"the network cannot be written in operator set {opset}",
            expected=f"what operator set {opset} defines",
            found="; ".join(f"{what} in {_listed(paths)}" for what, paths in places.items()),
            hint=f"pass `opset={needed}`, the oldest in which this network can be written",
        )


def _first_with(node: ir.Node, opset: int) -> int:
    """The first operator set after ``opset`` that lacks nothing that a node needs."""
    later = range(opset + 1, NEWEST_OPSET)
    return next((number for number in later if lacking(node, number) is None), NEWEST_OPSET)


def _listed(paths: list[str]) -> str:
    distinct = list(dict.fromkeys(paths))
    return ", ".join(distinct[:_SHOWN]) + (", ..." if len(distinct) > _SHOWN else "")
