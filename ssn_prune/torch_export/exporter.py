"""Write a pruned network as a program of torch.export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssn_prune.architectures.torchvision import is_detection_model
from ssn_prune.errors import ArgumentError, ExportError, first_line
from ssn_prune.files import sha256_of, write_errors
from ssn_prune.onnx_export.capture import capture_program
from ssn_prune.onnx_export.exporter import require_pruned
from ssn_prune.onnx_export.names import axis_names, with_axis_names
from ssn_prune.onnx_export.options import ExportOptions, require_known
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.pruning.counting import count_operators
from ssn_prune.runtime.stored_metadata import LAYER_VALUES_KEY
from ssn_prune.runtime.stored_program import INPUTS_KEY, METADATA_FILE
from ssn_prune.torch_export.cleaning import remove_traces
from ssn_prune.torch_export.operators import libraries_of, operator_counts, portable_program
from ssn_prune.torch_export.results import TorchProgramStats

_DEFAULTS = ExportOptions()
_OF_ONNX = {
    "target": "`target=`",
    "opset": "`opset=`",
    "ir_version": "`ir_version=`",
    "input_names": "`input_names=`",
}


def write_pt2(
    model: nn.Module,
    example_inputs: tuple[Any, ...],
    temporary: Path,
    target: Path,
    options: ExportOptions,
    progress: Progress = no_progress,
) -> tuple[TorchProgramStats, dict[str, int] | None]:
    """Export to ``temporary``, a file that will be moved to ``target``.

    ``progress`` is called with the name of each step before it starts.

    Returns:
        Statistics of the file, and its ATen operators, counted by name.

    Raises:
        ExportError: The network has switchable layers, is a detection model, cannot be captured or
            saved, or calls operators of neither torch nor torchvision.
        ArgumentError: An option is for ONNX files only.
        OutputError: The file cannot be written.
    """
    require_known(options)
    _require_no_onnx_options(options)
    require_pruned(model)
    if is_detection_model(model):
        raise ExportError(
            "a detection model cannot be exported as a torch program",
            expected="a network that torch.export can capture",
            found=f"{type(model).__name__}, whose code branches on how many boxes it has found",
            hint="write an ONNX file, for which it is traced: a name that ends in .onnx",
        )
    progress("capturing the pruned network")
    program, outputs = capture_program(model, example_inputs, options.dynamic or "batch")
    program = portable_program(program)
    remove_traces(program)
    operators = operator_counts(program)
    inputs = _shapes(program, program.graph_signature.user_inputs)
    results = _shapes(program, program.graph_signature.user_outputs)
    names = axis_names(inputs)
    stated = {name: _named(shape, names) for name, shape in inputs}
    metadata = dict(options.metadata or {}) | {INPUTS_KEY: json.dumps(stated)}
    values = layer_values(program, options.layer_paths or {})
    if values:
        metadata[LAYER_VALUES_KEY] = json.dumps(values)
    progress("writing")
    _save(program, temporary, target, metadata)
    stats = TorchProgramStats(
        file_name=target.name,
        bytes=temporary.stat().st_size,
        sha256=sha256_of(temporary),
        torch_version=torch.__version__,
        nodes=sum(operators.values()),
        operators=operators,
        libraries=libraries_of(program),
        inputs=stated,
        outputs={
            name: _named(shape, names)
            for name, (_, shape) in zip(outputs.names, results, strict=True)
        },
        left_out=outputs.left_out,
    )
    return stats, count_operators(program)


def layer_values(
    program: torch.export.ExportedProgram, paths: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Name the value in a program that equals each layer's output.

    Args:
        program: The program, whose nodes store the paths of their modules.
        paths: For each layer, the module paths whose last node computes its output.

    Returns:
        Names of nodes by layer; layers that left no node of their own are absent.
    """
    last: dict[str, str] = {}
    for node in program.graph.nodes:
        modules = list(node.meta.get("nn_module_stack", {}).values())
        if node.op == "call_function" and modules:
            last[modules[-1][0]] = node.name
    return {layer: last[path] for layer, names in paths.items() for path in names if path in last}


def _require_no_onnx_options(options: ExportOptions) -> None:
    for name, argument in _OF_ONNX.items():
        value = getattr(options, name)
        if value != getattr(_DEFAULTS, name):
            raise ArgumentError(
                f"{argument} is for ONNX files",
                expected="an option of torch programs, such as `dynamic=`",
                found=f"{value!r}, and a .pt2 file",
                hint=f"leave {argument} out, or write an ONNX file",
            )


def _save(
    program: torch.export.ExportedProgram, temporary: Path, target: Path, metadata: dict[str, str]
) -> None:
    extra = {METADATA_FILE: json.dumps(metadata, sort_keys=True)}
    with write_errors(target), temporary.open("wb") as file:  # a path would name the archive
        try:
            with suppress_tracer_output():
                torch.export.save(program, file, extra_files=extra)
        except OSError:
            raise
        # The serializer has no error class of its own for what it cannot save.
        except Exception as error:
            raise ExportError(
                "torch.export cannot save the pruned network",
                expected="a network of plain tensors, numbers and operators",
                found=f"{type(error).__name__}: {first_line(error)}",
                hint="remove what is named from the network; torch's own error is the cause of "
                "this one",
            ) from error


def _shapes(
    program: torch.export.ExportedProgram, names: Sequence[Any]
) -> list[tuple[str, list[str | int]]]:
    """Names and shapes of tensors in a program; sizes may be torch's symbols."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    tensors = [(name, values.get(name)) for name in names if isinstance(name, str)]
    return [
        (name, [size if isinstance(size, int) else str(size) for size in value.shape])
        for name, value in tensors
        if isinstance(value, Tensor)
    ]


def _named(shape: Sequence[str | int], names: dict[str, str]) -> list[str | int]:
    return [s if isinstance(s, int) else with_axis_names(s, names) for s in shape]
