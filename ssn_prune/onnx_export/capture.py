"""Capture the pruned network as a program with dynamic axes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.errors import ExportError, first_line
from ssn_prune.onnx_export.dynamic_axes import require_dynamic_sizes
from ssn_prune.onnx_export.options import Dynamic
from ssn_prune.pruning.capture.dynamic_shapes import dynamic_shapes
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.nested import clone_tensors


def capture_program(
    model: nn.Module, inputs: tuple[Any, ...], dynamic: Dynamic
) -> torch.export.ExportedProgram:
    """Capture a network in evaluation mode.

    Args:
        model: Not changed.
        inputs: Inputs of one call.
        dynamic: Which axes are dynamic.

    Raises:
        ExportError: It cannot be captured, or fixes its spatial size.
    """
    was_training = [module for module in model.modules() if module.training]
    try:
        with exporter_errors(dynamic):
            shapes = _dynamic_axes(model, inputs, dynamic)
            marked = clone_tensors(inputs)  # the tracer leaves its notes on these tensors
            program = torch.export.export(model.eval(), marked, dynamic_shapes=shapes)
            if dynamic == "spatial":
                require_dynamic_sizes(program, model, inputs)
            return program
    finally:
        for module in was_training:
            module.training = True


@contextmanager
def exporter_errors(dynamic: Dynamic) -> Iterator[None]:
    """Run torch's exporter without its output; its errors become :class:`ExportError`.

    ``torch.export`` and the ONNX exporter raise whatever the traced code or they themselves raise.
    Every such failure means that this network cannot be exported.
    """
    try:
        with suppress_tracer_output(), collector_paused():
            yield
    except ExportError:
        raise
    except Exception as error:
        sizes = {"none": "", "batch": " with any batch size", "spatial": " with any size"}
        raise ExportError(
            "the pruned network cannot be exported to ONNX",
            expected=f"a network that torch.export can capture{sizes[dynamic]}",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint='pass `dynamic="none"`; the exporter\'s own error is the cause of this one',
        ) from error


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
