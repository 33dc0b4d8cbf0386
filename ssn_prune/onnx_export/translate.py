"""Translate a captured program to an ONNX graph with readable names, and apply the passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from ssn_prune.errors import ExportError
from ssn_prune.onnx_export.failures import translation_errors
from ssn_prune.onnx_export.names import (
    chosen_names,
    clean,
    input_names,
    layer_values,
    name_dynamic_axes,
    name_inputs,
    name_outputs,
    require_apart,
)
from ssn_prune.onnx_export.opsets.definitions import EXPORTED_OPSET
from ssn_prune.onnx_export.opsets.lower import lower
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.onnx_export.passes.table import PASSES, apply_passes
from ssn_prune.onnx_export.results import PassRecord
from ssn_prune.onnx_export.targets import Settings


@dataclass(frozen=True)
class Translation:
    """A translated network.

    Attributes:
        graph: The graph.
        layer_values: For each normalization layer, the name of the value that equals its output.
        passes: The passes that changed something.
    """

    graph: ir.Model
    layer_values: dict[str, str]
    passes: tuple[PassRecord, ...]


def translate(
    program: torch.export.ExportedProgram,
    outputs: Sequence[str],
    model: nn.Module,
    options: ExportOptions,
    settings: Settings,
) -> Translation:
    """Translate a program with torch's exporter, apply our own passes, and lower the operator set.

    Args:
        program: The captured program.
        outputs: Default names of its outputs.
        model: The network that it was captured from.
        options: Names, and the operator set.
        settings: What the file is for.

    Raises:
        ExportError: The program cannot be translated, or not in that operator set, or a batch axis
            became fixed.
        ArgumentError: The number of names is not that of the inputs or outputs.
    """
    given = _output_values(program, len(outputs))
    _require_real(given, outputs)
    inputs = program.call_spec.in_spec
    opset = max(options.opset, EXPORTED_OPSET)
    with translation_errors():
        exported = torch.onnx.export(
            program, dynamo=True, opset_version=opset, verbose=False, optimize=True
        )
    assert exported is not None  # returned whenever no file is asked for
    graph = exported.model
    count = inputs.num_leaves if inputs is not None else len(graph.graph.inputs)
    entries = chosen_names(options.input_names, input_names(count), "input")
    results = chosen_names(options.output_names, outputs, "output")
    if options.input_names or options.output_names:
        require_apart(entries, results)
    name_inputs(graph, entries)
    name_outputs(graph, results)
    values = layer_values(graph, dict(options.layer_paths or {}))
    chosen = [entry for entry in PASSES if entry.code in settings.target.passes]
    passes = apply_passes(graph, model, chosen)
    lower(graph, options.opset)
    kept = {value.name for node in graph.graph for value in node.outputs}
    clean(graph)
    if settings.dynamic != "none":
        _require_dynamic_batch(graph, given)
    name_dynamic_axes(graph)
    return Translation(
        graph, {layer: value for layer, value in values.items() if value in kept}, passes
    )


def _output_values(program: torch.export.ExportedProgram, count: int) -> list[Any]:
    """What the tracer knows of the outputs: tensors without values, with symbols for sizes."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    return [getattr(node, "meta", {}).get("val") for node in output.args[0][-count:]]


def _require_real(values: Sequence[Any], names: Sequence[str]) -> None:
    """Refuse complex outputs, which torch's exporter turns into pairs of real numbers.

    Raises:
        ExportError: An output is complex.
    """
    for value, name in zip(values, names, strict=False):
        if isinstance(value, Tensor) and value.is_complex():
            raise ExportError(
                f"{name} is complex, and ONNX files have no complex outputs",
                expected="real outputs",
                found=str(value.dtype).removeprefix("torch."),
                hint="return torch.view_as_real(output), whose last axis holds the two parts",
            )


def _require_dynamic_batch(graph: ir.Model, given: Sequence[Any]) -> None:
    """Refuse a batch axis that became fixed in translation.

    An output whose first axis the network itself fixes, such as a constant, has no batch axis.
    """
    own = [isinstance(v, Tensor) and v.dim() > 0 and isinstance(v.shape[0], int) for v in given]
    outputs = [v for v, fixed in zip(graph.graph.outputs, own, strict=False) if not fixed]
    for value in [*graph.graph.inputs, *outputs]:
        shape = value.shape
        if shape is not None and len(shape) and isinstance(shape[0], int):
            raise ExportError(
                f"the batch axis of {value.name} became fixed",
                expected="a dynamic batch axis on every input and output",
                found=f"shape {shape}",
                hint='pass `dynamic="none"` if the network\'s outputs have no batch axis',
            )
