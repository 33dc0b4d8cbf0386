"""convert: checkpoint -> selection -> plan -> rewrite -> export -> verification -> report."""

from __future__ import annotations

import gc
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.preprocessing import require_embeddable
from ssn_prune.conversion.steps import (
    conversion_report,
    export_options,
    prune_loaded,
    require_all_passed,
    verification_batches,
    with_file,
)
from ssn_prune.errors import OutputError
from ssn_prune.example_inputs import ExampleInputs, example_inputs, require_input_size
from ssn_prune.export_formats import format_of, require_fitting_name
from ssn_prune.files import put_back_on_failure, replacing, require_writable, resolved
from ssn_prune.onnx_export.options import require_versions
from ssn_prune.progress import Progress, StepTimes, no_progress
from ssn_prune.pruned_weights.checking import require_same_network
from ssn_prune.pruned_weights.saving import write_pruned
from ssn_prune.pruning.results import NetworkStats
from ssn_prune.report import ConversionReport
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.guest import guest
from ssn_prune.text import shown, without_surrogates
from ssn_prune.verification.other_sizes import check_every_size
from ssn_prune.verification.results import VerificationReport
from ssn_prune.verification.verify import (
    Networks,
    check_file,
    check_in_float64,
)


@guest()
def convert(
    loaded: LoadedCheckpoint,
    target: Path | str,
    options: ConvertOptions | None = None,
    *,
    force: bool = False,
    save_weights: Path | str | None = None,
    progress: Progress = no_progress,
) -> ConversionReport:
    """Convert a loaded checkpoint to a verified file: ONNX or a torch program.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed.
        target: The file to write. It appears, complete, only if every check passes.
        options: How to convert.
        force: Replace an existing file.
        save_weights: Another file to write, in the safetensors format: the weights of the pruned
            network, for :func:`ssn_prune.load_pruned`.
        progress: Called with the name of each step before it starts.

    Returns:
        The report.

    Raises:
        SsnPruneError: One of its subclasses; nothing was written in that case.
    """
    options = options or ConvertOptions()
    path = resolved(target)
    weights = None if save_weights is None else resolved(save_weights)
    require_target(loaded, path, options, force=force)
    if weights is not None:
        require_writable(weights, force=force)
    require_apart(path, weights)
    inputs = example_inputs(loaded, options.fixed_batch)
    steps = StepTimes(progress)
    with collector_paused(), ExitStack() as stack:
        if weights is not None:  # the weights are moved into place before the model is
            stack.enter_context(put_back_on_failure(weights))
        temporary, saved = stack.enter_context(replacing(path)), None
        if weights is not None:
            saved = Saved(stack.enter_context(replacing(weights)), weights)
        report = _convert(loaded, inputs, temporary, path, options, saved, steps)
        return replace(report, steps=steps.until_now())


def require_target(
    loaded: LoadedCheckpoint, path: Path, options: ConvertOptions, *, force: bool
) -> None:
    """Find out before the work whether a conversion could write a file with these options.

    Args:
        loaded: The network.
        path: The file.
        options: How to convert.
        force: Replace an existing file.

    Raises:
        ArgumentError: The options do not fit each other, the network or the name of the file.
        OutputError: The file cannot be written.
    """
    require_versions(options.opset, options.ir_version)
    format_of(path, options.format)
    require_fitting_name(path)
    require_utf8(path)
    require_writable(path, force=force)
    require_input_size(loaded)
    require_embeddable(loaded, path, options)


def require_utf8(path: Path) -> None:
    """Refuse a path that cannot be passed to ONNX's checker and the runtimes.

    Raises:
        OutputError: The path is not valid Unicode.
    """
    if str(path) != without_surrogates(str(path)):
        raise OutputError(
            f"{shown(str(path))} is no path in Unicode",
            expected="a path in UTF-8, which ONNX's checker and the runtimes take",
            found=shown(path.name),
            hint="choose another name for the output",
        )


@dataclass(frozen=True)
class Saved:
    """Where the weights are written: a file that is moved to its target later."""

    temporary: Path
    target: Path


def require_apart(path: Path, weights: Path | None) -> None:
    """Refuse one path for both the network and its weights.

    Raises:
        OutputError: The paths are the same.
    """
    if path == weights:
        raise OutputError(
            "the weights would replace the exported file",
            expected="different files",
            found=str(path),
            hint="choose another path for `save_weights=`, such as "
            f"`save_weights={path.with_suffix('.safetensors').name!r}`",
        )


def _convert(
    loaded: LoadedCheckpoint,
    inputs: ExampleInputs,
    temporary: Path,
    path: Path,
    options: ConvertOptions,
    saved: Saved | None,
    progress: Progress,
) -> ConversionReport:
    """Write the file under another name and verify it."""
    # A network that is restored from its weights checks the sizes of its inputs itself.
    open_sizes = options.dynamic == "spatial" or saved is not None
    result = prune_loaded(loaded, inputs.pruning, options, progress, open_sizes=open_sizes)
    file_format = format_of(path, options.format)
    how = export_options(loaded, result, options)
    stats, operators = file_format.write(
        result.model, inputs.export, temporary, path, how, progress
    )
    batches = verification_batches(loaded, inputs, result, options)
    report = replace(
        conversion_report(loaded, result, options),
        after=NetworkStats(result.report.after.parameters, operators),
    )
    report = with_file(report, file_format, stats)
    if saved is not None:
        progress("saving the pruned weights")
        stats_of_weights = write_pruned(result, saved.temporary, saved.target, how.metadata or {})
        require_same_network(saved.temporary, result, loaded.model, inputs.pruning)
        report = replace(report, weights=stats_of_weights)
    networks, adoption = Networks.of(result), result.report.adoption
    # The pruned network is in the file now, and the checks need its memory. The captured graphs
    # are full of reference cycles, so only the collector frees them.
    del result
    gc.collect()
    algebra, outputs = check_in_float64(
        networks, batches, algebra=options.algebra, rounding=options.rounding, progress=progress
    )
    report = replace(report, verification=VerificationReport(algebra, None, adoption))
    require_all_passed(report)
    if outputs is not None:
        progress("verifying: running the file")
        gc.collect()
        check = partial(
            check_file, file_format, temporary, networks, every_layer=options.every_layer
        )
        checks = VerificationReport(algebra, check_every_size(check, batches, outputs), adoption)
        report = replace(report, verification=checks)
        require_all_passed(report)
    return report


@guest()
def dry_run(
    loaded: LoadedCheckpoint,
    options: ConvertOptions | None = None,
    *,
    progress: Progress = no_progress,
) -> ConversionReport:
    """Report what a conversion would write, without writing or verifying it.

    The file is exported to a temporary folder, so that its nodes are counted and not estimated.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed.
        options: How to convert.
        progress: Called with the name of each step before it starts.

    Returns:
        The report, without checks.

    Raises:
        SsnPruneError: One of its subclasses.
    """
    options = options or ConvertOptions()
    require_versions(options.opset, options.ir_version)
    inputs = example_inputs(loaded, options.fixed_batch)
    require_embeddable(loaded, Path(f"model.{options.format or 'onnx'}"), options)
    steps = StepTimes(progress)
    with collector_paused(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{options.format or 'onnx'}"
        result = prune_loaded(loaded, inputs.pruning, options, steps)
        file_format = format_of(path, options.format)
        how = export_options(loaded, result, options)
        stats, operators = file_format.write(result.model, inputs.export, path, path, how, steps)
        report = replace(
            conversion_report(loaded, result, options),
            after=NetworkStats(result.report.after.parameters, operators),
            steps=steps.until_now(),
        )
        return with_file(report, file_format, stats)
