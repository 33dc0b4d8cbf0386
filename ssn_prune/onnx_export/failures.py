"""Why a network cannot be exported, and which option helps; each is tried before it is suggested.

torch's exporter says at which node it stopped, but not whether a fixed batch size would help.
Trying takes time, but only where the export has failed anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ssn_prune.errors import ExportError, first_line
from ssn_prune.onnx_export.options import Dynamic
from ssn_prune.pruning.capture.dynamic_shapes import dynamic_shapes
from ssn_prune.pruning.capture.size_conditions import size_guards
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.nested import clone_tensors, tensor_leaves

_PROBLEM = "the pruned network cannot be exported"
_CAUSE = "the exporter's own error is the cause of this one"


def capture_failure(
    model: nn.Module, inputs: tuple[Any, ...], dynamic: Dynamic, error: Exception
) -> ExportError:
    """The error for a network that torch.export cannot capture.

    Args:
        model: The network in evaluation mode.
        inputs: Inputs of one call.
        dynamic: The axes that were to be dynamic.
        error: What the exporter raised.
    """
    found = f"{type(error).__name__}: {first_line(error)}"
    raised = _own_error(model, inputs)
    if raised is not None:
        return ExportError(
            "the pruned network does not run, so it cannot be exported",
            expected="code that runs with other normalization layers in place of switchable ones",
            found=raised,
            hint="look for code that asks for the class of a layer, for its gates or for other "
            "attributes, and let it work with other layers, too",
        )
    if dynamic == "none":
        return ExportError(
            _PROBLEM,
            expected="a network that torch.export can capture",
            found=found,
            hint="take out of the network what torch.export does not follow, such as a branch on "
            f"values; {_CAUSE}",
        )
    if dynamic == "spatial" and _captures(model, inputs, torch.export.Dim("batch")) is not None:
        return ExportError(
            _PROBLEM,
            expected="a network that torch.export can capture with any size",
            found=found,
            hint=f'convert once per size, with `dynamic="batch"`, which works here; {_CAUSE}',
        )
    program = _captures(model, inputs, torch.export.Dim.AUTO)
    if program is not None:
        guards = size_guards(program, model, inputs)
        conditions = [guard.readable for guard in guards if ".shape[0]" in guard.readable]
        shown = f"code that needs {' and '.join(conditions)}" if conditions else found
        return ExportError(
            "the network's code depends on the batch size, so it cannot be exported with any",
            expected="a network that does the same for every batch size",
            found=shown,
            hint=_one_batch_size(inputs),
        )
    if _captures(model, inputs, None) is not None:
        return ExportError(
            _PROBLEM,
            expected="a network that torch.export can capture with any batch size",
            found=found,
            hint=_one_batch_size(inputs),
        )
    return ExportError(
        _PROBLEM,
        expected="a network that torch.export can capture",
        found=found,
        hint="take out of the network what torch.export does not follow, such as a branch on "
        f"values: it fails with fixed sizes, too; {_CAUSE}",
    )


@contextmanager
def translation_errors() -> Iterator[None]:
    """Run torch's ONNX exporter without its output; its errors become :class:`ExportError`."""
    try:
        with suppress_tracer_output(), collector_paused():
            yield
    # The exporter raises whatever its translation of an operator raises.
    except Exception as error:
        raise ExportError(
            _PROBLEM,
            expected="operators that torch's ONNX exporter can translate",
            found=f"{type(error).__name__}: {first_line(_root(error))}",
            hint=f"replace the operator that the error names; {_CAUSE}",
        ) from error


def _one_batch_size(inputs: tuple[Any, ...]) -> str:
    """The hint for networks that can be captured with the batch size of the inputs."""
    size = next((leaf.shape[0] for leaf in tensor_leaves(inputs) if leaf.dim()), 1)
    return (
        f"export once per batch size: `static_batch={size}` works here, or "
        '`dynamic="none"` with example inputs of that size'
    )


def _root(error: BaseException) -> BaseException:
    """The first cause of an error: the exporter's own text is for its developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _own_error(model: nn.Module, inputs: tuple[Any, ...]) -> str | None:
    """The error that the network itself raises; None if it runs."""
    try:
        with suppress_tracer_output(), torch.no_grad():
            model(*clone_tensors(inputs))
    # The network is the user's code and may raise anything.
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {first_line(error)}"
    return None


def _captures(
    model: nn.Module, inputs: tuple[Any, ...], batch: Any
) -> torch.export.ExportedProgram | None:
    """The captured network, None if that fails; if ``batch`` is None, with a fixed batch size."""
    shapes = None
    if batch is not None:
        shapes = dynamic_shapes(model, inputs, lambda leaf: {0: batch} if leaf.dim() else {})
    try:
        with suppress_tracer_output(), collector_paused():
            return torch.export.export(model, clone_tensors(inputs), dynamic_shapes=shapes)
    # torch.export raises whatever the traced code or the tracer raises.
    except Exception:  # noqa: BLE001
        return None
