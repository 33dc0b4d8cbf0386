"""convert: checkpoint -> selection -> plan -> rewrite -> export -> verify -> report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssn_prune._version import __version__
from ssn_prune.checkpoint.assemble import LoadedCheckpoint
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.errors import UsageError, first_line
from ssn_prune.files import replacing, require_writable, resolved
from ssn_prune.graph.forms import Form
from ssn_prune.layers.copying import copy_model
from ssn_prune.onnx_export.export import ExportOptions, write_onnx
from ssn_prune.pruning import OnUnconverged, PruneResult, prune
from ssn_prune.report import (
    SCHEMA_VERSION,
    ConversionReport,
    NetworkStats,
    VerificationReport,
    to_json,
)
from ssn_prune.tensors import clone_tensors
from ssn_prune.verification.verify import BATCH_SIZES, random_batches, require_passed, verify

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        on_unconverged: What to do with unfinished gates; see :func:`ssn_prune.prune`.
        fold: Fold into convolutions and linear layers.
        algebra: Run the algebra check.
        rounding: Run the rounding check.
        static_batch: A fixed batch size, or None for a symbolic one.
        opset: ONNX operator set.
        ir_version: ONNX file format version.
        preprocessing: Notes on the input's preprocessing, stored in the file.
        trust_running_statistics: Skip the test for running sums.
    """

    on_unconverged: OnUnconverged = "error"
    fold: bool = True
    algebra: bool = True
    rounding: bool = True
    static_batch: int | None = None
    opset: int = ExportOptions.opset
    ir_version: int = ExportOptions.ir_version
    preprocessing: str | None = None
    trust_running_statistics: bool = False


def convert(
    loaded: LoadedCheckpoint,
    target: Path | str,
    options: ConvertOptions | None = None,
    *,
    force: bool = False,
    progress: Progress = lambda _step: None,
) -> ConversionReport:
    """Convert a loaded checkpoint to a verified ONNX file.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed.
        target: The file to write. It is written only if every check passes, and appears complete.
        options: How to convert.
        force: Replace an existing file.
        progress: Called with the name of each step before it starts.

    Returns:
        The report.

    Raises:
        SsnPruneError: See its subclasses; nothing has been written then.
    """
    options = options or ConvertOptions()
    path = resolved(target)
    require_writable(path, force=force)
    size = require_input_size(loaded)
    result = prune_loaded(loaded, options, progress)
    export_options = ExportOptions(
        opset=options.opset,
        ir_version=options.ir_version,
        dynamic_batch=options.static_batch is None,
        metadata=_metadata(loaded, result, options),
        layer_paths=_layer_paths(result),
    )
    with replacing(path) as temporary:
        progress("exporting to ONNX")
        inputs = (torch.zeros(options.static_batch or 2, *size),)
        stats, operators = write_onnx(result.model, inputs, temporary, path, export_options)
        progress("verifying")
        checks = _checked(result, temporary, size, options)
    report = conversion_report(loaded, result)
    after = NetworkStats(result.report.after.parameters, operators)
    return replace(report, after=after, onnx=stats, verification=checks)


def prune_loaded(
    loaded: LoadedCheckpoint, options: ConvertOptions, progress: Progress = lambda _step: None
) -> PruneResult:
    """Check the running statistics of a loaded checkpoint and prune its network."""
    size = require_input_size(loaded)
    progress("running the original once")
    inputs = _accepted_inputs(loaded, size)
    progress("pruning")
    result = prune(loaded.model, inputs, on_unconverged=options.on_unconverged, fold=options.fold)
    if not options.trust_running_statistics:
        require_averages(result.original, inputs)
    result.model.eval()
    return result


def _accepted_inputs(loaded: LoadedCheckpoint, size: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Make the example inputs and see whether the network takes them.

    Raises:
        UsageError: It does not.
    """
    try:
        inputs: tuple[Tensor, ...] = random_batches([size], [2])[0]
        with torch.no_grad():
            copy_model(loaded.model)(*clone_tensors(inputs))  # running it may change buffers
    # The network is the user's code and may raise anything.
    except Exception as error:
        raise UsageError(
            f"the network cannot run on inputs of size {'x'.join(map(str, size))}",
            expected="an input size that the network was made for",
            found=f"{type(error).__name__}: {first_line(error)}",
            hint="give the size of the training inputs with --input-size, as HxW or CxHxW",
        ) from error
    return inputs


def verify_file(
    loaded: LoadedCheckpoint,
    onnx_path: Path | str,
    options: ConvertOptions,
    progress: Progress = lambda _step: None,
) -> ConversionReport:
    """Verify an existing ONNX file against a checkpoint.

    Raises:
        VerificationError: A check failed.
        SsnPruneError: See its subclasses.
    """
    size = require_input_size(loaded)
    result = prune_loaded(loaded, options, progress)
    progress("verifying")
    checks = _checked(result, Path(onnx_path), size, options)
    return replace(conversion_report(loaded, result), verification=checks)


def _checked(
    result: PruneResult, path: Path, size: tuple[int, ...], options: ConvertOptions
) -> VerificationReport:
    sizes = (options.static_batch,) * 4 if options.static_batch else BATCH_SIZES
    batches = random_batches([size], sizes)
    checks = verify(result, path, batches, algebra=options.algebra, rounding=options.rounding)
    require_passed(checks)
    return checks


def conversion_report(loaded: LoadedCheckpoint, result: PruneResult) -> ConversionReport:
    """The report of a pruned checkpoint, before export and verification."""
    return ConversionReport(
        schema_version=SCHEMA_VERSION,
        ssn_prune_version=__version__,
        source=loaded.source,
        layers=result.report.layers,
        before=result.report.before,
        after=result.report.after,
        capture_error=result.report.capture_error,
        rounded=result.report.rounded,
    )


def require_input_size(loaded: LoadedCheckpoint) -> tuple[int, ...]:
    """The input size of a loaded checkpoint.

    Raises:
        UsageError: It is not known.
    """
    if loaded.input_size is None:
        raise UsageError(
            f"the input size of {loaded.source.arch} is not known",
            expected="--input-size H, HxW or CxHxW",
            found="a network of your own without the attribute input_size",
            hint="for example --input-size 224",
        )
    return loaded.input_size


def _layer_paths(result: PruneResult) -> dict[str, tuple[str, ...]]:
    """Where each layer's output appears: its own module, or the convolution that absorbed it."""
    paths: dict[str, tuple[str, ...]] = {}
    for layer in result.plan.layers:
        if layer.fold is not None and layer.form is Form.IDENTITY:
            paths[layer.name] = (layer.fold.conv,)
        else:
            paths[layer.name] = (layer.name, *layer.aliases)
    return paths


def _metadata(
    loaded: LoadedCheckpoint, result: PruneResult, options: ConvertOptions
) -> dict[str, str]:
    """Provenance and selection, as strings; no local paths and no times, so bytes repeat."""
    source = loaded.source
    selection: Mapping[str, Any] = {
        layer.name: {"mean": layer.mean.choice, "var": layer.var.choice, "form": layer.form}
        if layer.converged or options.on_unconverged == "argmax"
        else {"mean": layer.mean.ratios, "var": layer.var.ratios, "form": layer.form}
        for layer in result.report.layers
    }
    metadata = {
        "ssn_prune.version": __version__,
        "ssn_prune.source": source.file_name,
        "ssn_prune.source_sha256": source.sha256,
        "ssn_prune.architecture": source.arch or "",
        "ssn_prune.architecture_arguments": json.dumps(source.arch_args, sort_keys=True),
        "ssn_prune.torch_version": torch.__version__.split("+")[0],
        "ssn_prune.selection": json.dumps(to_json(selection)),
    }
    if options.preprocessing is not None:
        metadata["ssn_prune.preprocessing"] = options.preprocessing
    return metadata
