"""Exported graphs before the passes, and the results of selected passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ssn_prune.onnx_export import translate as translate_module
from ssn_prune.onnx_export.capture import capture_program
from ssn_prune.onnx_export.options import Dynamic, ExportOptions
from ssn_prune.onnx_export.passes.table import PASSES, OnnxPass, apply_passes
from ssn_prune.onnx_export.results import PassRecord
from ssn_prune.onnx_export.targets import find_target, settings_of


@dataclass(frozen=True)
class Exported:
    """A graph as translated, with the exporter's notes, and the network that it came from."""

    network: nn.Module
    data: bytes

    def with_passes(
        self, passes: Sequence[OnnxPass]
    ) -> tuple[onnx.ModelProto, tuple[PassRecord, ...]]:
        """The graph after some passes; it must be valid."""
        model = ir.from_proto(onnx.load_from_string(self.data))
        unknown = _without_shape(model)
        records = apply_passes(model, self.network, passes)
        assert _without_shape(model) <= unknown  # later passes rely on shapes
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        return proto, records


def _without_shape(model: ir.Model) -> set[str]:
    values = (value for node in model.graph for value in node.outputs)
    return {str(value.name) for value in values if value.shape is None}


def exported(network: nn.Module, x: Tensor, dynamic: Dynamic) -> Exported:
    """Export as usual, but stop before the passes."""
    found: list[bytes] = []

    def keep(graph: ir.Model, *_: object) -> tuple[PassRecord, ...]:
        found.append(ir.to_proto(graph).SerializeToString())
        return ()

    program, kept = capture_program(network, (x,), dynamic)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate_module, "apply_passes", keep)
        options = ExportOptions(dynamic=dynamic)
        settings = settings_of(options)
        translate_module.translate(program, kept.names, network, options, settings)
    return Exported(network, found[0])


def outputs(model: onnx.ModelProto, x: Tensor) -> list[Tensor]:
    """Outputs of the unchanged graph, without the runtime's own rewrites."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [torch.from_numpy(value) for value in session.run(None, {"input": x.numpy()})]


def pass_named(code: str) -> OnnxPass:
    """The row of the table."""
    (found,) = [entry for entry in PASSES if entry.code == code]
    return found


def passes_of(target: str) -> list[OnnxPass]:
    """The passes of a target, in their order."""
    codes = find_target(target).passes
    return [entry for entry in PASSES if entry.code in codes]


def layer_passes() -> list[OnnxPass]:
    """The passes that see only the nodes of our layers."""
    return [entry for entry in PASSES if entry.layers]
