"""The table of passes over the exported graph, and how they are applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, RemoveUnusedNodesPass
from torch import nn

from ssn_prune.nn.inference import GroupNorm, InstanceCentre, LayerCentre, MomentNorm
from ssn_prune.onnx_export.names import module_path
from ssn_prune.onnx_export.passes import (
    bias_with_mean,
    channel_sum_1d,
    constants_at_rank,
    instance_moments,
    max_pool_first,
    never_one_axis,
    one_axis,
    one_sample,
    plane_moments,
    scale_and_shift,
    sequence_as_plane,
    two_axes,
)
from ssn_prune.onnx_export.results import PassRecord

Rewrite = Callable[[ir.Graph, ir.Node], bool]


@dataclass(frozen=True)
class OnnxPass:
    """One pass.

    Attributes:
        code: Its name in the report.
        rewrite: Rewrites what begins at a node, in place, and returns whether it did. A value whose
            meaning changes must be renamed, and any other must keep its name, because layers are
            found in the file by the names of their values.
        layers: Classes of the modules whose nodes it is given. Nodes of other modules are skipped,
            however similar they are. Empty for a pass that is valid in every graph.
    """

    code: str
    rewrite: Rewrite
    layers: tuple[type[nn.Module], ...] = ()


PASSES: tuple[OnnxPass, ...] = (
    OnnxPass("one_sample", one_sample.rewrite, (MomentNorm, GroupNorm)),
    OnnxPass("scale_and_shift", scale_and_shift.rewrite, (MomentNorm,)),
    OnnxPass("bias_with_mean", bias_with_mean.rewrite, (InstanceCentre,)),
    OnnxPass("channel_sum_1d", channel_sum_1d.rewrite, (LayerCentre,)),
    OnnxPass("max_pool_first", max_pool_first.rewrite),
    OnnxPass("instance_moments", instance_moments.rewrite),
    OnnxPass("plane_moments", plane_moments.rewrite),
    OnnxPass("two_axes", two_axes.rewrite),
    OnnxPass("one_axis", one_axis.rewrite),
    OnnxPass("never_one_axis", never_one_axis.rewrite),
    OnnxPass("sequence_as_plane", sequence_as_plane.rewrite),
    OnnxPass("constants_at_rank", constants_at_rank.rewrite),
)
"""All passes, in the order in which they are applied: after ``one_sample`` there is no mean left to
move. The target decides which of them a file gets; see :mod:`ssn_prune.onnx_export.targets`."""


def apply_passes(
    model: ir.Model, network: nn.Module, passes: Sequence[OnnxPass]
) -> tuple[PassRecord, ...]:
    """Apply passes to an exported graph, in place.

    Args:
        model: The graph, with the exporter's metadata on which module each node comes from.
        network: The network that it was exported from.
        passes: The passes, in order.

    Returns:
        The passes that changed something, and where.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    records = []
    for entry in passes:
        fired = []
        for node in list(model.graph):
            path = module_path(node)
            if node.graph is None:  # removed by an earlier rewrite
                continue
            if entry.layers and not isinstance(modules.get(path), entry.layers):
                continue
            if entry.rewrite(model.graph, node):
                fired.append(path)
        if fired:
            RemoveUnusedNodesPass()(model)
            records.append(PassRecord(entry.code, len(fired), tuple(dict.fromkeys(fired))))
    NameFixPass()(model)
    return tuple(records)
