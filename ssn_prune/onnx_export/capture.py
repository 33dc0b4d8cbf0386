"""Capture the pruned network as a program of torch.export with dynamic axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import ExportError
from ssn_prune.onnx_export.dynamic_axes import require_dynamic_sizes
from ssn_prune.onnx_export.failures import capture_failure
from ssn_prune.onnx_export.options import Dynamic
from ssn_prune.onnx_export.outputs import TensorOutputs, tensor_outputs
from ssn_prune.pruning.capture.dynamic_shapes import dynamic_shapes
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.nested import clone_tensors


def capture_program(
    model: nn.Module, inputs: tuple[Any, ...], dynamic: Dynamic
) -> tuple[torch.export.ExportedProgram, TensorOutputs]:
    """Capture a network in evaluation mode.

    Args:
        model: The network; not changed.
        inputs: Inputs of one call.
        dynamic: Which axes are dynamic.

    Returns:
        The program, whose outputs are the tensors among the network's outputs, and their names.

    Raises:
        ExportError: The network cannot be captured, or fixes its spatial size although that is to
            be dynamic.
    """
    was_training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        with tensor_outputs(model) as outputs:
            program = _captured(model, inputs, dynamic)
        if dynamic == "spatial":
            require_dynamic_sizes(program, model, inputs)
        return program, outputs
    finally:
        for module in was_training:
            module.training = True


def _captured(
    model: nn.Module, inputs: tuple[Any, ...], dynamic: Dynamic
) -> torch.export.ExportedProgram:
    try:
        with suppress_tracer_output(), collector_paused():
            shapes = _dynamic_axes(model, inputs, dynamic)
            marked = clone_tensors(inputs)  # the tracer attaches attributes to these tensors
            return torch.export.export(model, marked, dynamic_shapes=shapes)
    except ExportError:
        raise
    # torch.export raises whatever the traced code or the tracer raises.
    except Exception as error:
        raise capture_failure(model, inputs, dynamic, error) from error


def _dynamic_axes(
    model: nn.Module, inputs: tuple[Any, ...], dynamic: Dynamic
) -> dict[str, Any] | None:
    if dynamic == "none":
        return None
    batch = torch.export.Dim("batch")

    def axes(tensor: Tensor) -> dict[int, Any]:
        spatial = range(2, tensor.dim()) if dynamic == "spatial" else ()
        return {0: batch, **dict.fromkeys(spatial, torch.export.Dim.AUTO)}

    return dynamic_shapes(model, inputs, axes)
