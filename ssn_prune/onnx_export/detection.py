"""Detection models: exported by torch's tracing exporter.

torch.export cannot capture torchvision's detection models, because the number of boxes depends on
the data. Their code supports torch's tracing exporter instead, including images of other sizes.
Other networks are never traced, since tracing freezes every branch that the code takes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssn_prune.errors import ArgumentError, ExportError, first_line
from ssn_prune.onnx_export.names import chosen_names, input_names, require_apart
from ssn_prune.onnx_export.options import OLDEST_OPSET, ExportOptions
from ssn_prune.onnx_export.outputs import named_outputs
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.surgery.copying import copy_model
from ssn_prune.surgery.nested import clone_tensors

NEWEST_TRACED_OPSET = 20
"""The newest operator set of torch's tracing exporter."""


def trace_to_onnx(
    model: nn.Module, inputs: tuple[Any, ...], options: ExportOptions, dynamic_sizes: bool
) -> ir.Model:
    """Export a detection model.

    Args:
        model: The model; not changed.
        inputs: Inputs of one call: a list of images, each (C, H, W).
        options: Names, and the operator set.
        dynamic_sizes: Make H and W of every image dynamic. The number of images stays fixed.

    Raises:
        ExportError: It cannot be traced.
        ArgumentError: The tracing exporter does not support the operator set, or the number of
            names is not that of the inputs or outputs.
    """
    opset = options.opset
    if opset > NEWEST_TRACED_OPSET:
        raise ArgumentError(
            f"a detection model cannot be exported in operator set {opset}",
            expected=f"{OLDEST_OPSET} to {NEWEST_TRACED_OPSET}: it is traced, and torch's tracing "
            "exporter knows no newer one",
            found=f"`opset={opset}`",
            hint=f"pass `opset={NEWEST_TRACED_OPSET}`",
        )
    traced = copy_model(model)
    traced.eval()
    leaves = pytree.tree_leaves(inputs)
    names = chosen_names(options.input_names, input_names(len(leaves)), "input")
    axes = {
        name: {leaf.dim() - 2: f"{name}_height", leaf.dim() - 1: f"{name}_width"}
        for name, leaf in zip(names, leaves, strict=True)
        if isinstance(leaf, Tensor)
    }
    try:
        with suppress_tracer_output(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "traced.onnx"
            found = [name for name, _ in named_outputs(traced(*clone_tensors(inputs)))]
            outputs = chosen_names(options.output_names, found, "output")
            if options.input_names or options.output_names:
                require_apart(names, outputs)
            torch.onnx.export(
                traced,
                clone_tensors(inputs),
                file,
                dynamo=False,
                opset_version=opset,
                input_names=list(names),
                output_names=list(outputs),
                dynamic_axes=axes if dynamic_sizes else None,
            )
            graph = ir.from_proto(onnx.load(file))
    except ArgumentError:
        raise
    # The exporter passes on whatever the traced code raises, and has errors of its own.
    except Exception as error:
        raise ExportError(
            "the pruned detection model cannot be exported to ONNX",
            expected="a model that torch's tracing exporter supports",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="the exporter's own error is the cause of this one",
        ) from error
    for node in graph.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.clear()
    graph.graph.name, graph.graph.doc_string, graph.doc_string = "ssn_prune", None, None
    return graph
