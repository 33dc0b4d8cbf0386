"""verify: an existing file against its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssn_prune.architectures.torchvision import is_detection_model
from ssn_prune.checkpoint.loading import LoadedCheckpoint
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.preprocessing import with_preprocessing
from ssn_prune.conversion.steps import (
    conversion_report,
    prune_loaded,
    require_all_passed,
    verification_batches,
)
from ssn_prune.errors import InferenceRuntimeError
from ssn_prune.example_inputs import example_inputs
from ssn_prune.progress import Progress, StepTimes, no_progress
from ssn_prune.report import ConversionReport
from ssn_prune.runtime.file_facts import FileFacts
from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.surgery.guest import guest
from ssn_prune.verification.facts import file_facts
from ssn_prune.verification.other_checkpoint import FILE_HINT, other_checkpoint
from ssn_prune.verification.other_runtimes import installed_backends
from ssn_prune.verification.verify import (
    opening_of,
    verify,
)


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
        options: The options of its conversion. A batch size that is not given is taken from the
            file, and so is the preprocessing.
        progress: Called with the name of each step before it starts.
        timeout: Seconds that loading and running the file may take in all.
        provider: ONNX Runtime's execution provider; see :func:`ssn_prune.verify`.
        runtimes: Other runtimes to run the file in; see :func:`ssn_prune.verify`.
        trust_pt2: Open a torch program whatever is in it; see :func:`ssn_prune.verify`.
        from_report: Report of the conversion that wrote it; see :func:`ssn_prune.verify`.

    Raises:
        VerificationError: A check failed. If the file was made from another checkpoint, the error
            says so.
        SsnPruneError: Any other of its subclasses.
    """
    path = Path(onnx_path)  # a bad file or argument is refused before the slow work
    trust: Any = {"trust_pt2": trust_pt2, "from_report": from_report}
    opening_of(path if options.rounding else None, timeout, provider, runtimes, **trust)
    installed_backends(runtimes)
    progress = steps = StepTimes(progress)
    if options.rounding and os.path.exists(path) and not is_detection_model(loaded.model):
        options = _as_the_file_says(loaded, options, file_facts(path, timeout))
    inputs = example_inputs(loaded, options.fixed_batch)
    result = prune_loaded(loaded, inputs.pruning, options, progress)
    if not os.path.exists(path):  # also false for a name that no file can have
        raise InferenceRuntimeError(
            f"{path} does not exist",
            expected="the file that the conversion wrote",
            found="no such file",
            hint="check the path; by default the file lies next to its checkpoint",
        )
    batches = verification_batches(loaded, inputs, result, options)
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
    require_all_passed(report, FILE_HINT)
    return replace(report, steps=steps.until_now())


def _as_the_file_says(
    loaded: LoadedCheckpoint, options: ConvertOptions, facts: FileFacts
) -> ConvertOptions:
    """The options, completed with what the file says."""
    if options.static_batch is None and options.dynamic is None:
        options = replace(options, static_batch=facts.batch)
    if facts.preprocessing is None:
        return options
    options = with_preprocessing(options, facts.preprocessing.how, loaded)
    return replace(options, embed_preprocessing=facts.preprocessing.embedded)
