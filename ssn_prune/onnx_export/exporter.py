"""Export a network to a lean, self-contained ONNX file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from torch import Tensor, nn

from ssn_prune._version import __version__
from ssn_prune.architectures.torchvision import is_detection_model
from ssn_prune.errors import ArgumentError, ExportError
from ssn_prune.files import replacing, require_writable, resolved, sha256_of
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.onnx_export.capture import capture_program
from ssn_prune.onnx_export.detection import trace_to_onnx
from ssn_prune.onnx_export.embedding import embed, require_pixels
from ssn_prune.onnx_export.ir_version import oldest_ir_version, require_ir_version
from ssn_prune.onnx_export.misreadings import misread
from ssn_prune.onnx_export.open_pooling import require_fixed_windows
from ssn_prune.onnx_export.options import DEFAULT_OPSET, ExportOptions, require_known
from ssn_prune.onnx_export.results import OnnxStats, PassRecord
from ssn_prune.onnx_export.saving import save_checked
from ssn_prune.onnx_export.targets import PORTABLE, Settings, settings_of
from ssn_prune.onnx_export.translate import Translation, translate
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.counting import count_operators
from ssn_prune.runtime.stored_metadata import LAYER_VALUES_KEY, TARGET_KEY
from ssn_prune.surgery.guest import guest


@guest()
def export_onnx(
    model: nn.Module,
    example_inputs: Tensor | tuple[Any, ...],
    path: Path | str,
    *,
    options: ExportOptions | None = None,
    force: bool = False,
) -> OnnxStats:
    """Export a pruned network. If that fails, ``path`` is left as it was.

    Args:
        model: A network without switchable layers, such as ``prune(...).model``. Not changed.
        example_inputs: Inputs of one call; for a dynamic batch, two samples or more.
        path: The file to write.
        options: How to export; by default ``ExportOptions()``.
        force: Replace an existing file.

    Returns:
        Statistics of the file.

    Raises:
        ExportError: The network still has switchable layers, or cannot be exported.
        ArgumentError: An option has no such value, or does not fit the network or the target.
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
    """Export to ``temporary``, a file that will be moved to ``target``.

    ``progress`` is called with the name of each step before it starts.

    Returns:
        Statistics of the file, and the ATen operators that it was made from, counted by name; None
        if the network was traced.

    Raises:
        ExportError: The network has switchable layers or cannot be exported, or an axis did not
            stay dynamic.
        ArgumentError: An option has no such value, or does not fit the network or the target.
    """
    require_known(options)
    settings = settings_of(options)
    if options.embedded is not None:
        require_pixels(settings.target)
    require_pruned(model)
    translation, operators, left_out = _translated(
        model, example_inputs, options, settings, progress
    )
    graph = translation.graph
    if options.embedded is not None:
        embed(graph.graph, options.embedded)
    _add_provenance(graph, translation.layer_values, options, settings)
    progress("writing")
    external = save_checked(graph, temporary, target, options.single_file_limit)
    stats = _stats(graph, temporary, target, external, translation.passes)
    wrong = misread(graph.graph, settings.target)
    stats = replace(stats, target=settings.target.name, left_out=left_out, misread=wrong)
    # onnxscript's rewrite rules keep the last graph that they saw, so free its weights here.
    for value in graph.graph.initializers.values():
        value.const_value = None
    return stats, operators


def _translated(
    model: nn.Module,
    inputs: tuple[Any, ...],
    options: ExportOptions,
    settings: Settings,
    progress: Progress,
) -> tuple[Translation, dict[str, int] | None, tuple[str, ...]]:
    if is_detection_model(model):
        _require_portable(settings)
        progress("tracing to ONNX")
        graph = trace_to_onnx(model, inputs, options, settings.dynamic == "spatial")
        return Translation(graph, {}, ()), None, ()
    progress("capturing the pruned network")
    program, outputs = capture_program(model, inputs, settings.dynamic)
    if settings.dynamic == "spatial":
        require_fixed_windows(program)
    operators = count_operators(program)
    progress("translating to ONNX")
    return translate(program, outputs.names, model, options, settings), operators, outputs.left_out


def require_pruned(model: nn.Module) -> None:
    """Refuse a network with gates: it could be exported, but would be neither lean nor verified.

    Raises:
        ExportError: The network has switchable layers.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, SwitchableNorm)]
    if names:
        raise ExportError(
            "the network still has switchable layers: prune it first",
            expected="a network without switchable layers, such as prune(model, inputs).model",
            found=f"{len(names)} of them: {', '.join(names[:4])}"
            + (", ..." if len(names) > 4 else ""),
            hint="export prune(model, inputs).model; gates that are not one-hot need "
            "`on_unconverged='exact'` there",
        )


def _require_portable(settings: Settings) -> None:
    """Refuse other targets: their forms are made by passes, which a traced graph does not get."""
    if settings.target.name != PORTABLE:
        raise ArgumentError(
            f"a detection model has no file of its own for {settings.target.title}",
            expected=f"`target={PORTABLE!r}`: it is traced, and only captured networks get the "
            "forms of other targets",
            found=f"`target={settings.target.name!r}`",
            hint="leave `target=` out",
        )


def _add_provenance(
    graph: ir.Model, layer_values: dict[str, str], options: ExportOptions, settings: Settings
) -> None:
    graph.producer_name, graph.producer_version = "ssn_prune", __version__
    graph.metadata_props.update(options.metadata or {})
    graph.metadata_props[TARGET_KEY] = settings.target.name
    if layer_values:
        graph.metadata_props[LAYER_VALUES_KEY] = json.dumps(layer_values)
    opset = graph.opset_imports[""]
    if opset != options.opset:
        raise ExportError(
            f"the exporter could not convert the graph to operator set {options.opset}",
            expected=f"operator set {options.opset}",
            found=f"operator set {opset}",
            hint=f"pass `opset={DEFAULT_OPSET}`, which is the default",
        )
    oldest = oldest_ir_version(graph)
    require_ir_version(options.ir_version, oldest, "what the graph contains")
    graph.ir_version = options.ir_version or oldest


def _stats(
    graph: ir.Model,
    temporary: Path,
    target: Path,
    external: str | None,
    passes: tuple[PassRecord, ...],
) -> OnnxStats:
    kinds = Counter(node.op_type for node in graph.graph.all_nodes())
    size = temporary.stat().st_size
    if external is not None:
        size += (temporary.parent / external).stat().st_size
    return OnnxStats(
        file_name=target.name,
        bytes=size,
        external_data=external,
        nodes=kinds.total(),
        operators=dict(sorted(kinds.items())),
        opset=graph.opset_imports[""],
        ir_version=graph.ir_version,
        inputs=_shapes(graph.graph.inputs),
        outputs=_shapes(graph.graph.outputs),
        types=_types([*graph.graph.inputs, *graph.graph.outputs]),
        passes=passes,
        sha256=sha256_of(temporary),
    )


def _shapes(values: Sequence[ir.Value]) -> dict[str, list[str | int]]:
    return {
        str(value.name): [dim if isinstance(dim, int) else str(dim) for dim in value.shape or ()]
        for value in values
    }


def _types(values: Sequence[ir.Value]) -> dict[str, str]:
    """Element types by name, as NumPy calls them, such as ``float32``."""
    return {str(value.name): str(value.dtype.numpy()) for value in values if value.dtype}
