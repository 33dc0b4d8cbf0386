"""convert: checkpoint -> selection -> plan -> rewrite -> export -> verify -> report."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ssn_prune._version import __version__
from ssn_prune.architectures.torchvision import is_detection_model
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.environment import environment
from ssn_prune.errors import ArgumentError, InferenceRuntimeError, OutputError, VerificationError
from ssn_prune.example_inputs import ExampleInputs, example_inputs
from ssn_prune.export_formats import ExportFormat, FileStats, format_of
from ssn_prune.files import replacing, require_writable, resolved
from ssn_prune.onnx_export.metadata import layer_paths, metadata_of
from ssn_prune.onnx_export.options import Dynamic, ExportOptions, require_versions
from ssn_prune.onnx_export.results import OnnxStats
from ssn_prune.onnx_export.targets import dynamic_axes
from ssn_prune.progress import Progress, StepTimes, no_progress
from ssn_prune.pruned_weights.checking import require_same_network
from ssn_prune.pruned_weights.saving import write_pruned
from ssn_prune.pruning.prune import OnUnconverged, PruneResult, prune_shared
from ssn_prune.pruning.results import NetworkStats
from ssn_prune.report import SCHEMA_VERSION, ConversionReport
from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.surgery.collector import collector_paused
from ssn_prune.surgery.guest import guest
from ssn_prune.verification.fixed_batch import fixed_batch
from ssn_prune.verification.other_checkpoint import FILE_HINT, other_checkpoint
from ssn_prune.verification.other_runtimes import installed_backends
from ssn_prune.verification.other_sizes import batches_of_other_sizes, check_every_size
from ssn_prune.verification.results import VerificationReport
from ssn_prune.verification.verify import (
    NOTHING_WRITTEN,
    Networks,
    check_file,
    check_in_float64,
    opening_of,
    require_passed,
    verify,
)


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        on_unconverged: What to do with gates that are not one-hot; see :func:`ssn_prune.prune`.
        fold: Fold into convolutions and linear layers.
        algebra: Run the algebra check.
        rounding: Run the rounding check.
        target: What the file is for; see :data:`ssn_prune.onnx_export.targets.TARGETS`.
        dynamic: Which sizes are dynamic: ``"none"``, ``"batch"`` or ``"spatial"`` (both); by
            default ``"batch"``, or ``"none"`` for a target that takes no dynamic batch.
        static_batch: A fixed batch size, which implies ``dynamic="none"``; that alone means 1.
        opset: ONNX operator set, 13 to 21; detection models to 20.
        ir_version: ONNX file format version; by default the oldest that the file may have.
        input_names: Names of the file's inputs, by default ``input``, ``input_1``, ...
        output_names: Names of its outputs, by default ``output`` or the keys of the results.
        preprocessing: Notes on the input's preprocessing, stored in the file.
        trust_running_statistics: Skip the test for running sums.
        allow_unverified_layers: Accept layers of another implementation that cannot run here.
        every_layer: Measure the error of every layer inside the file, for the report; a file that
            is wrong is measured always.
        format: The format of the file, such as ``"pt2"``; by default that of its suffix.
    """

    on_unconverged: OnUnconverged = "error"
    fold: bool = True
    algebra: bool = True
    rounding: bool = True
    target: str = ExportOptions.target
    dynamic: Dynamic | None = None
    static_batch: int | None = None
    opset: int = ExportOptions.opset
    ir_version: int | None = None
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None
    preprocessing: str | None = None
    trust_running_statistics: bool = False
    allow_unverified_layers: bool = False
    every_layer: bool = False
    format: str | None = None

    @property
    def dynamic_axes(self) -> Dynamic:
        """The dynamic sizes, given the batch size and the target.

        Raises:
            ArgumentError: A fixed batch size and dynamic spatial sizes are asked for together, or
                the target takes no such sizes.
        """
        if self.static_batch is None:
            return dynamic_axes(self.target, self.dynamic)
        if self.dynamic == "spatial":
            raise ArgumentError(
                "a fixed batch size and dynamic spatial sizes exclude each other",
                expected="`static_batch=` or `dynamic='spatial'`",
                found=f"`static_batch={self.static_batch}` and `dynamic='spatial'`",
                hint="leave `static_batch=` out: such a file takes every batch size",
            )
        return "none"

    @property
    def fixed_batch(self) -> int | None:
        """The batch size of the file; None if it takes any.

        Raises:
            ArgumentError: See ``dynamic_axes``.
        """
        return (self.static_batch or 1) if self.dynamic_axes == "none" else None


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
    """Convert a loaded checkpoint to a verified file, in ONNX or as a torch program.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed.
        target: The file to write. It is written only if every check passes, and appears complete.
        options: How to convert.
        force: Replace an existing file.
        save_weights: Another file to write, safetensors: the pruned network's weights, which
            :func:`ssn_prune.load_pruned` reads.
        progress: Called with the name of each step before it starts.

    Returns:
        The report.

    Raises:
        SsnPruneError: See its subclasses; nothing has been written then.
    """
    options = options or ConvertOptions()
    require_versions(options.opset, options.ir_version)
    path = resolved(target)
    format_of(path, options.format)
    weights = None if save_weights is None else resolved(save_weights)
    for target_path in (path,) if weights is None else (path, weights):
        require_writable(target_path, force=force)
    require_apart(path, weights)
    inputs = example_inputs(loaded, options.fixed_batch)
    steps = StepTimes(progress)
    with collector_paused(), replacing(path) as temporary, ExitStack() as stack:
        saved = None
        if weights is not None:
            saved = Saved(stack.enter_context(replacing(weights)), weights)
        report = _convert(loaded, inputs, temporary, path, options, saved, steps)
        return replace(report, steps=steps.until_now())


@dataclass(frozen=True)
class Saved:
    """Where the weights go: a file that is moved to its target later."""

    temporary: Path
    target: Path


def require_apart(path: Path, weights: Path | None) -> None:
    """Refuse one file for the network and its weights.

    Raises:
        OutputError: They are the same.
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
    # Weights that load again are for every size that the network's code takes.
    open_sizes = options.dynamic == "spatial" or saved is not None
    result = prune_loaded(loaded, inputs.pruning, options, progress, open_sizes=open_sizes)
    file_format = format_of(path, options.format)
    how = _export_options(loaded, result, options)
    stats, operators = file_format.write(
        result.model, inputs.export, temporary, path, how, progress
    )
    batches = verification_batches(inputs, result, options)
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
    # The pruned network is in the file now: the checks need its memory. What was captured is full
    # of reference cycles.
    del result
    gc.collect()
    algebra, outputs = check_in_float64(
        networks, batches, algebra=options.algebra, rounding=options.rounding, progress=progress
    )
    report = replace(report, verification=VerificationReport(algebra, None, adoption))
    _require_passed(report)
    if outputs is not None:
        progress("verifying: running the file")
        gc.collect()
        check = partial(
            check_file, file_format, temporary, networks.original, every_layer=options.every_layer
        )
        checks = VerificationReport(algebra, check_every_size(check, batches, outputs), adoption)
        report = replace(report, verification=checks)
        _require_passed(report)
    return report


def _require_passed(report: ConversionReport, hint: str = NOTHING_WRITTEN) -> None:
    """Raise if a check failed, with the report of what was found."""
    assert report.verification is not None  # the caller has put it there
    try:
        require_passed(report.verification, hint)
    except VerificationError as error:
        error.report = report
        raise


def with_file(
    report: ConversionReport, file_format: ExportFormat, stats: FileStats
) -> ConversionReport:
    """The report with what is known of the file."""
    if isinstance(stats, OnnxStats):
        return replace(report, format=file_format.name, onnx=stats)
    return replace(report, format=file_format.name, exported=stats)


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
        open_sizes: Find out which sizes the code takes; by default only for a file that has
            dynamic ones, since a file with fixed ones says so itself.
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


def _export_options(
    loaded: LoadedCheckpoint, result: PruneResult, options: ConvertOptions
) -> ExportOptions:
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
            preprocessing=options.preprocessing,
        ),
        layer_paths=layer_paths(result.plan),
    )


def verification_batches(
    inputs: ExampleInputs, result: PruneResult, options: ConvertOptions
) -> list[tuple[Any, ...]]:
    """Inputs at several batch sizes, and at several spatial sizes if these are dynamic."""
    if options.dynamic_axes != "spatial":
        return inputs.verification
    return [*inputs.verification, *batches_of_other_sizes(result, inputs.verification[0])]


@guest()
def verify_file(
    loaded: LoadedCheckpoint,
    onnx_path: Path | str,
    options: ConvertOptions,
    progress: Progress = no_progress,
    timeout: float = TIMEOUT,
    *,
    provider: str = "cpu",
    runtimes: Sequence[str] = (),
    trust_pt2: bool = False,
    from_report: Path | str | None = None,
) -> ConversionReport:
    """Verify an existing file against a checkpoint.

    Args:
        loaded: The checkpoint; not changed.
        onnx_path: The file.
        options: How it was converted. A batch size that is not given is that of the file.
        progress: Called with the name of each step before it starts.
        timeout: Seconds that loading and running the file may take.
        provider: ONNX Runtime's execution provider, as for :func:`ssn_prune.verify`.
        runtimes: Other runtimes to run the file in, as there.
        trust_pt2: Open a torch program whatever is in it, as there.
        from_report: Report of the conversion that wrote it, as there.

    Raises:
        VerificationError: A check failed; it says so if the file was made from another checkpoint.
        SsnPruneError: See its subclasses.
    """
    path = Path(onnx_path)  # everything about it is refused before the work that takes long
    trust: Any = {"trust_pt2": trust_pt2, "from_report": from_report}
    opening_of(path if options.rounding else None, timeout, provider, runtimes, **trust)
    installed_backends(runtimes)
    progress = steps = StepTimes(progress)
    open_question = options.rounding and options.static_batch is None and options.dynamic is None
    if open_question and os.path.exists(path) and not is_detection_model(loaded.model):
        options = replace(options, static_batch=fixed_batch(path, timeout))
    inputs = example_inputs(loaded, options.fixed_batch)
    result = prune_loaded(loaded, inputs.pruning, options, progress)
    if not os.path.exists(path):  # false, too, for a name that no file can have
        raise InferenceRuntimeError(
            f"{path} does not exist",
            expected="the file that the conversion wrote",
            found="no such file",
            hint="check the path; by default the file lies beside its checkpoint",
        )
    batches = verification_batches(inputs, result, options)
    try:
        checks = verify(
            result,
            path,
            batches,
            algebra=options.algebra,
            rounding=options.rounding,
            provider=provider,
            runtimes=runtimes,
            timeout=timeout,
            every_layer=options.every_layer,
            progress=progress,
            **trust,
        )
    except InferenceRuntimeError as error:
        other = other_checkpoint(path, loaded.source, timeout)
        if other is None:
            raise
        raise other from error
    if checks.rounding is not None and not checks.rounding.passed:
        other = other_checkpoint(path, loaded.source, timeout)
        if other is not None:
            raise other
    report = replace(conversion_report(loaded, result, options), verification=checks)
    _require_passed(report, FILE_HINT)
    return replace(report, steps=steps.until_now())


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
        options=asdict(options),
        environment=environment(),
    )
