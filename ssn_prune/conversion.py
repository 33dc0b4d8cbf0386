"""convert: checkpoint -> selection -> plan -> rewrite -> export -> verify -> report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ssn_prune._version import __version__
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.errors import ArgumentError
from ssn_prune.example_inputs import (
    accepted_inputs,
    example_batches,
    require_input_size,
    verification_batches,
)
from ssn_prune.files import replacing, require_writable, resolved
from ssn_prune.memory import (
    collector_paused,
    release_memory,
    returning_blocks,
    run_in_thread,
)
from ssn_prune.onnx_export.exporter import Dynamic, ExportOptions, write_onnx
from ssn_prune.onnx_export.metadata import layer_paths, metadata_of
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.prune import OnUnconverged, PruneResult, prune
from ssn_prune.pruning.results import NetworkStats
from ssn_prune.report import SCHEMA_VERSION, ConversionReport
from ssn_prune.surgery.nested import clone_tensors
from ssn_prune.verification.onnx_runtime import check_rounding, compare_file
from ssn_prune.verification.results import VerificationReport
from ssn_prune.verification.verify import (
    BATCH_SIZES,
    check_in_float64,
    require_passed,
    verify,
)

_FLOAT64_BYTES = 8


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        on_unconverged: What to do with unfinished gates; see :func:`ssn_prune.prune`.
        fold: Fold into convolutions and linear layers.
        algebra: Run the algebra check.
        rounding: Run the rounding check.
        dynamic: Which sizes stay open: ``"none"``, ``"batch"`` or ``"spatial"`` (both).
        static_batch: A fixed batch size, which implies ``dynamic="none"``; that alone means 1.
        opset: ONNX operator set.
        ir_version: ONNX file format version.
        preprocessing: Notes on the input's preprocessing, stored in the file.
        trust_running_statistics: Skip the test for running sums.
    """

    on_unconverged: OnUnconverged = "error"
    fold: bool = True
    algebra: bool = True
    rounding: bool = True
    dynamic: Dynamic = "batch"
    static_batch: int | None = None
    opset: int = ExportOptions.opset
    ir_version: int = ExportOptions.ir_version
    preprocessing: str | None = None
    trust_running_statistics: bool = False

    @property
    def open_axes(self) -> Dynamic:
        """What stays open after all.

        Raises:
            ArgumentError: A fixed batch size and open sizes are asked for together.
        """
        if self.static_batch is None:
            return self.dynamic
        if self.dynamic == "spatial":
            raise ArgumentError(
                "a fixed batch size and open spatial sizes exclude each other",
                expected="`static_batch=` or `dynamic='spatial'`",
                found=f"`static_batch={self.static_batch}` and `dynamic='spatial'`",
                hint="leave `static_batch=` out: a file with an open batch takes every batch size",
            )
        return "none"


def convert(
    loaded: LoadedCheckpoint,
    target: Path | str,
    options: ConvertOptions | None = None,
    *,
    force: bool = False,
    progress: Progress = no_progress,
    reload: Callable[[], LoadedCheckpoint] | None = None,
) -> ConversionReport:
    """Convert a loaded checkpoint to a verified ONNX file.

    Args:
        loaded: Result of :func:`ssn_prune.load_checkpoint`; not changed unless ``reload`` is given.
        target: The file to write. It is written only if every check passes, and appears complete.
        options: How to convert.
        force: Replace an existing file.
        progress: Called with the name of each step before it starts.
        reload: Loads the checkpoint again: for programs that do nothing else. If it is given,
            ``loaded`` loses its weights before the file is opened in the runtime, which takes two
            to three times their memory, and some steps set the process to return memory at once.
            The weights are only needed again if the file is wrong, to find the layer at fault.

    Returns:
        The report.

    Raises:
        SsnPruneError: See its subclasses; nothing has been written then.
    """
    options = options or ConvertOptions()
    path = resolved(target)
    require_writable(path, force=force)
    require_input_size(loaded)
    with collector_paused(alone=reload is not None):
        return _convert(loaded, path, options, progress, reload)


def _convert(
    loaded: LoadedCheckpoint,
    path: Path,
    options: ConvertOptions,
    progress: Progress,
    reload: Callable[[], LoadedCheckpoint] | None,
) -> ConversionReport:
    open_axes = options.open_axes
    result = prune_loaded(loaded, options, progress, alone=reload is not None)
    batches = verification_batches(result, loaded, options.open_axes, options.static_batch)
    export_options = ExportOptions(
        opset=options.opset,
        ir_version=options.ir_version,
        dynamic=open_axes,
        metadata=metadata_of(
            loaded.source,
            result,
            rounded=options.on_unconverged == "argmax",
            any_size=open_axes == "spatial",
            preprocessing=options.preprocessing,
        ),
        layer_paths=layer_paths(result.plan),
    )
    with replacing(path) as temporary:
        single = open_axes == "none" or loaded.takes_images
        batch = options.static_batch or (1 if single else 2)
        inputs = clone_tensors(example_batches(loaded, [batch])[0])
        stats, operators = write_onnx(
            result.model, inputs, temporary, path, export_options, progress
        )
        report = conversion_report(loaded, result)
        after = NetworkStats(result.report.after.parameters, operators)
        original, plan = result.original, result.plan
        # The pruned network is in the file now: the checks need its memory.
        del result
        release_memory()
        check = partial(
            check_in_float64, algebra=options.algebra, rounding=options.rounding, progress=progress
        )
        if reload is None:
            first = check(original, plan, batches)
        else:
            with returning_blocks(_blocks_to_return(original, plan)):
                first = run_in_thread(check, original, plan, batches)
        checks = VerificationReport(first.algebra, None)
        require_passed(checks)
        if first.answers is not None:
            progress("verifying: running the file")
            if reload is None:
                rounding = compare_file(temporary, batches, *first.answers)
            else:
                del original
                _forget_weights(loaded.model)
                with returning_blocks():
                    rounding = run_in_thread(compare_file, temporary, batches, *first.answers)
            if not rounding.passed:  # which layer is it?
                if reload is not None:
                    original = prune_loaded(reload(), options).original
                rounding = check_rounding(original, temporary, batches)
            checks = replace(checks, rounding=rounding)
        require_passed(checks)
    return replace(report, after=after, onnx=stats, verification=checks)


def _blocks_to_return(original: nn.Module, plan: Plan) -> int:
    """The smallest blocks of the checks in float64 that are worth the time to return them.

    They make and drop one kernel after the other. Where the layers give more, for two samples, than
    the network has weights, smaller blocks are left, which are mostly activations.
    """
    weights = [parameter.nbytes for parameter in original.parameters()]
    entries = sum(
        layer.num_features * (layer.positions or 0) * layer.calls for layer in plan.layers
    )
    given = _FLOAT64_BYTES * BATCH_SIZES[1] * entries
    return max(weights, default=0) // 2 if given > sum(weights) else 0


def _forget_weights(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.layout is torch.strided:
            parameter.data = torch.empty(0, dtype=parameter.dtype, device=parameter.device)


def prune_loaded(
    loaded: LoadedCheckpoint,
    options: ConvertOptions,
    progress: Progress = no_progress,
    *,
    alone: bool = False,
) -> PruneResult:
    """Check the running statistics of a loaded checkpoint and prune its network.

    If the process does nothing else (``alone``), it may be told how to treat its memory.
    """
    progress("running the original once")
    inputs, moments = accepted_inputs(loaded)
    progress("pruning")
    with returning_blocks() if alone else nullcontext():
        result = prune(
            loaded.model,
            inputs,
            on_unconverged=options.on_unconverged,
            fold=options.fold,
            any_size=options.dynamic == "spatial",
            fixed_sizes=options.dynamic != "spatial",  # the file says so itself
            share_parameters=True,  # neither is trained
            moments=moments,
        )
    if not options.trust_running_statistics:
        require_averages(result.original, inputs)
    result.model.eval()
    return result


def verify_file(
    loaded: LoadedCheckpoint,
    onnx_path: Path | str,
    options: ConvertOptions,
    progress: Progress = no_progress,
) -> ConversionReport:
    """Verify an existing ONNX file against a checkpoint.

    Raises:
        VerificationError: A check failed.
        SsnPruneError: See its subclasses.
    """
    result = prune_loaded(loaded, options, progress)
    batches = verification_batches(result, loaded, options.open_axes, options.static_batch)
    checks = verify(
        result,
        onnx_path,
        batches,
        algebra=options.algebra,
        rounding=options.rounding,
        progress=progress,
    )
    require_passed(checks)
    return replace(conversion_report(loaded, result), verification=checks)


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
        captured_parts=result.report.captured_parts,
        size_conditions=result.report.size_conditions if result.plan.any_size else (),
    )
