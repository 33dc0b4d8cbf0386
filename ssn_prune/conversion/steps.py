"""The steps that conversion and verification of a checkpoint share: pruning, inputs, report."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ssn_prune._version import __version__
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.preprocessing import of_pixels, preprocessing_of
from ssn_prune.environment import environment
from ssn_prune.errors import VerificationError
from ssn_prune.example_inputs import ExampleInputs
from ssn_prune.export_formats import ExportFormat
from ssn_prune.exported_file import FileStats
from ssn_prune.onnx_export.metadata import layer_paths, metadata_of
from ssn_prune.onnx_export.options import ExportOptions
from ssn_prune.onnx_export.results import OnnxStats
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.prune import PruneResult, prune_shared
from ssn_prune.report import SCHEMA_VERSION, ConversionReport
from ssn_prune.verification.other_sizes import batches_of_other_sizes
from ssn_prune.verification.verify import (
    NOTHING_WRITTEN,
    require_passed,
)


def prune_loaded(
    loaded: LoadedCheckpoint,
    inputs: tuple[Any, ...],
    options: ConvertOptions,
    progress: Progress = no_progress,
    *,
    open_sizes: bool | None = None,
) -> PruneResult:
    """Prune the network of a loaded checkpoint and check its running statistics.

    Args:
        loaded: The network; not changed.
        inputs: Inputs of one call.
        options: How to convert.
        progress: Called with the name of each step before it starts.
        open_sizes: Find out which spatial sizes the network's code allows. By default that is done
            only for a file with dynamic spatial sizes; one with fixed sizes refuses others itself.
    """
    open_sizes = options.dynamic == "spatial" if open_sizes is None else open_sizes
    progress("pruning")
    result = prune_shared(
        loaded.model,
        inputs,
        given=loaded.given,
        on_unconverged=options.on_unconverged,
        fold=options.fold,
        any_size=options.dynamic == "spatial",
        fixed_sizes=not open_sizes,
        allow_unverified_layers=options.allow_unverified_layers,
    )
    if not options.trust_running_statistics:
        require_averages(result.original, inputs)
    result.model.eval()
    return result


def export_options(
    loaded: LoadedCheckpoint, result: PruneResult, options: ConvertOptions
) -> ExportOptions:
    """The exporter's options, including the provenance that the file stores."""
    preprocessing = preprocessing_of(loaded, options)
    return ExportOptions(
        target=options.target,
        opset=options.opset,
        ir_version=options.ir_version,
        dynamic=options.dynamic_axes,
        input_names=options.input_names,
        output_names=options.output_names,
        metadata=metadata_of(
            loaded.source,
            result,
            rounded=options.on_unconverged == "argmax",
            any_size=options.dynamic_axes == "spatial",
            preprocessing=preprocessing,
            embedded=options.embed_preprocessing,
            note=options.preprocessing,
        ),
        embedded=preprocessing if options.embed_preprocessing else None,
        layer_paths=layer_paths(result.plan),
    )


def verification_batches(
    loaded: LoadedCheckpoint, inputs: ExampleInputs, result: PruneResult, options: ConvertOptions
) -> list[tuple[Any, ...]]:
    """Inputs at several batch sizes, and at several spatial sizes if these are dynamic.

    For a file that takes pixels, they are inputs that can be made from pixels.
    """
    batches = inputs.verification
    if options.dynamic_axes == "spatial":
        batches = [*batches, *batches_of_other_sizes(result, inputs.verification[0])]
    how = preprocessing_of(loaded, options) if options.embed_preprocessing else None
    return batches if how is None else of_pixels(batches, how)


def conversion_report(
    loaded: LoadedCheckpoint, result: PruneResult, options: ConvertOptions
) -> ConversionReport:
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
        captured_parts=result.report.captured_parts,
        size_conditions=result.report.size_conditions if result.plan.any_size else (),
        preprocessing=preprocessing_of(loaded, options),
        options=asdict(options),
        environment=environment(),
    )


def with_file(
    report: ConversionReport, file_format: ExportFormat, stats: FileStats
) -> ConversionReport:
    """The report, with the statistics of the file."""
    if isinstance(stats, OnnxStats):
        return replace(report, format=file_format.name, onnx=stats)
    return replace(report, format=file_format.name, exported=stats)


def require_all_passed(report: ConversionReport, hint: str = NOTHING_WRITTEN) -> None:
    """Raise if a check failed, with the report attached to the error."""
    assert report.verification is not None  # the caller has put it there
    try:
        require_passed(report.verification, hint)
    except VerificationError as error:
        error.report = report
        raise
