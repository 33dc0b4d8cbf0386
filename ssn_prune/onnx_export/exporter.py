"""Export a network to a lean, self-contained ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssn_prune._version import __version__
from ssn_prune.architectures.torchvision import is_detection_model
from ssn_prune.errors import ArgumentError, ExportError, first_line
from ssn_prune.files import (
    SINGLE_FILE_LIMIT,
    replacing,
    require_writable,
    resolved,
)
from ssn_prune.onnx_export.decomposing import decompose
from ssn_prune.onnx_export.dynamic_axes import require_open_sizes
from ssn_prune.onnx_export.names import (
    clean,
    input_names,
    layer_values,
    name_inputs,
    name_open_axes,
    name_outputs,
    output_names,
)
from ssn_prune.onnx_export.optimizing import optimize
from ssn_prune.onnx_export.passes.max_pool_first import pool_first
from ssn_prune.onnx_export.results import OnnxStats
from ssn_prune.onnx_export.saving import save_checked
from ssn_prune.onnx_export.tracing import trace_to_onnx
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.capture.dynamic_shapes import dynamic_shapes
from ssn_prune.pruning.capture.suppress_output import suppress_tracer_output
from ssn_prune.pruning.counting import count_operators
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.nested import clone_tensors

Dynamic = Literal["none", "batch", "spatial"]
DEFAULT_OPSET = 18
DEFAULT_IR_VERSION = 10
LAYER_VALUES_KEY = "ssn_prune.layer_outputs"


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        opset: ONNX operator set.
        ir_version: ONNX file format version; newer ones exclude older runtimes.
        dynamic: Which axes of the inputs stay open: ``"none"``, ``"batch"`` (axis 0) or
            ``"spatial"`` (axis 0 and those behind the channels).
        input_names: Names of the inputs, by default ``input``, ``input_1``, ...
        metadata: Strings to store in the file.
        layer_paths: For each normalization layer the modules whose output equals its own; the
            names of those values are stored, so that a check can look at them.
        single_file_limit: Bytes of weights above which they go into a file of their own.
    """

    opset: int = DEFAULT_OPSET
    ir_version: int = DEFAULT_IR_VERSION
    dynamic: Dynamic = "batch"
    input_names: tuple[str, ...] | None = None
    metadata: Mapping[str, str] | None = None
    layer_paths: Mapping[str, tuple[str, ...]] | None = None
    single_file_limit: int = SINGLE_FILE_LIMIT


def export_onnx(
    model: nn.Module,
    example_inputs: Tensor | tuple[Any, ...],
    path: Path | str,
    *,
    options: ExportOptions | None = None,
    force: bool = False,
) -> OnnxStats:
    """Export a pruned network; the target is either the old file or the complete new one.

    Args:
        model: A network without switchable layers, such as ``prune(...).model``. Not changed.
        example_inputs: Inputs of one call; with a dynamic batch their batch size must be 2 or more.
        path: The file to write.
        options: How to export.
        force: Replace an existing file.

    Returns:
        Statistics of the file.

    Raises:
        ExportError: The network cannot be exported.
        OutputError: The file cannot be written.
    """
    target = resolved(path)
    require_writable(target, force=force)
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    with replacing(target) as temporary:
        stats, _ = write_onnx(model, inputs, temporary, target, options or ExportOptions())
    return stats


def write_onnx(
    model: nn.Module,
    example_inputs: tuple[Any, ...],
    temporary: Path,
    target: Path,
    options: ExportOptions,
    progress: Progress = no_progress,
) -> tuple[OnnxStats, dict[str, int] | None]:
    """Export to ``temporary``, a file that will be renamed to ``target`` in the same folder.

    ``progress`` is told of every step.

    Returns:
        Statistics of the file, and the ATen operators that it was made from, None if the network
        was traced.

    Raises:
        ExportError: The network cannot be exported, or an axis did not stay open.
        ArgumentError: The operator set or the kind of open axes does not exist.
    """
    _require_known(options)
    operators = None
    if is_detection_model(model):
        progress("tracing to ONNX")
        graph = trace_to_onnx(model, example_inputs, options.opset, options.dynamic == "spatial")
        values: dict[str, str] = {}
    else:
        graph, spec, operators = _to_ir(model, example_inputs, options, progress)
        name_outputs(graph, ["output"] if spec is None else output_names(spec))
        values = layer_values(graph, dict(options.layer_paths or {}))
        clean(graph)
        pooled = pool_first(graph)
        values = {layer: value for layer, value in values.items() if value not in pooled}
        if options.dynamic != "none":
            _require_symbolic_batch(graph)
        name_open_axes(graph)
    graph.ir_version = options.ir_version
    graph.producer_name, graph.producer_version = "ssn_prune", __version__
    graph.metadata_props.update(options.metadata or {})
    if values:
        graph.metadata_props[LAYER_VALUES_KEY] = json.dumps(values)
    if graph.opset_imports[""] != options.opset:
        raise ExportError(
            f"the exporter could not convert the graph to operator set {options.opset}",
            expected=f"operator set {options.opset}",
            found=f"operator set {graph.opset_imports['']}",
            hint=f"leave `opset=` out to get {DEFAULT_OPSET}",
        )
    progress("writing")
    external = save_checked(graph, temporary, target, options.single_file_limit)
    stats = _stats(graph, temporary, target, external)
    # onnxscript's rewrite rules remember the last graph that they saw, as long as the process runs.
    for value in graph.graph.initializers.values():
        value.const_value = None
    return stats, operators


def _to_ir(
    model: nn.Module, inputs: tuple[Any, ...], options: ExportOptions, progress: Progress
) -> tuple[ir.Model, pytree.TreeSpec | None, dict[str, int]]:
    """The graph, how its outputs are nested, and the ATen operators that it was made from."""
    names = options.input_names or input_names(len(pytree.tree_leaves(inputs)))
    was_training = [module for module in model.modules() if module.training]
    try:
        with suppress_tracer_output(), collector_paused():
            shapes = _open_axes(model, inputs, options.dynamic)
            progress("capturing the pruned network")
            marked = clone_tensors(inputs)  # the tracer leaves its notes on these tensors
            program = torch.export.export(model.eval(), marked, dynamic_shapes=shapes)
            if options.dynamic == "spatial":
                require_open_sizes(program, model, inputs)
            progress("translating to ONNX")
            operators = count_operators(program)
            decompose(program)
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=options.opset,
                verbose=False,
                optimize=False,
            )
            assert exported is not None  # returned whenever no file is asked for
            optimize(exported.model)
            name_inputs(exported.model, names)
    except ExportError:
        raise
    # torch.export and the ONNX exporter raise whatever the traced code or they themselves raise;
    # every such failure means that this network cannot be exported.
    except Exception as error:
        open_axes = {"none": "", "batch": " with any batch size", "spatial": " with any size"}
        raise ExportError(
            "the pruned network cannot be exported to ONNX",
            expected=f"a network that torch.export can capture{open_axes[options.dynamic]}",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="try `dynamic='none'`; the exporter's own error is the cause of this one",
        ) from error
    finally:
        for module in was_training:
            module.training = True
    return exported.model, program.call_spec.out_spec, operators


def _open_axes(
    model: nn.Module, inputs: tuple[Any, ...], dynamic: Dynamic
) -> dict[str, Any] | None:
    if dynamic == "none":
        return None
    batch = torch.export.Dim("batch")

    def axes(tensor: Tensor) -> dict[int, Any]:
        spatial = range(2, tensor.dim()) if dynamic == "spatial" else ()
        return {0: batch, **dict.fromkeys(spatial, torch.export.Dim.AUTO)}

    return dynamic_shapes(model, inputs, axes)


def _require_known(options: ExportOptions) -> None:
    names = options.input_names or ()
    if len(set(names)) != len(names):
        raise ArgumentError(
            "two inputs cannot have the same name",
            expected="a name of its own for each input",
            found=", ".join(names),
            hint="leave `input_names=` out to get input, input_1, ...",
        )
    if options.dynamic not in get_args(Dynamic):
        raise ArgumentError(
            f"unknown kind of open axes {options.dynamic!r}",
            expected=" or ".join(get_args(Dynamic)),
            found=repr(options.dynamic),
            hint="leave `dynamic=` out to keep only the batch size open",
        )
    newest = onnx.defs.onnx_opset_version()
    if not DEFAULT_OPSET <= options.opset <= newest:
        raise ArgumentError(
            f"operator set {options.opset} cannot be exported",
            expected=f"{DEFAULT_OPSET} to {newest}",
            found=str(options.opset),
            hint=f"leave `opset=` out: every current runtime reads {DEFAULT_OPSET}",
        )


def _require_symbolic_batch(graph: ir.Model) -> None:
    for value in [*graph.graph.inputs, *graph.graph.outputs]:
        shape = value.shape
        if shape is not None and len(shape) and isinstance(shape[0], int):
            raise ExportError(
                f"the batch axis of {value.name} became fixed",
                expected="a symbolic batch axis on every input and output",
                found=f"shape {shape}",
                hint="pass `dynamic='none'` if the network's outputs have no batch axis",
            )


def _stats(graph: ir.Model, temporary: Path, target: Path, external: str | None) -> OnnxStats:
    kinds: dict[str, int] = {}
    for node in graph.graph.all_nodes():
        kinds[node.op_type] = kinds.get(node.op_type, 0) + 1
    size = temporary.stat().st_size
    if external is not None:
        size += (temporary.parent / external).stat().st_size
    return OnnxStats(
        file_name=target.name,
        bytes=size,
        external_data=external,
        nodes=sum(kinds.values()),
        operators=dict(sorted(kinds.items())),
        opset=graph.opset_imports[""],
        ir_version=graph.ir_version,
        inputs=_shapes(graph.graph.inputs),
        outputs=_shapes(graph.graph.outputs),
    )


def _shapes(values: Sequence[ir.Value]) -> dict[str, list[str | int]]:
    return {
        str(value.name): [dim if isinstance(dim, int) else str(dim) for dim in value.shape or ()]
        for value in values
    }
