"""verify: check a pruned network and its file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ssn_prune.errors import ArgumentError, VerificationError
from ssn_prune.export_formats import EXPORT_FORMATS, ExportFormat, format_of, require_trusted
from ssn_prune.progress import Progress, no_progress
from ssn_prune.pruning.plan import Plan
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.runtime.opening import Opening
from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.runtime.providers import provider_named
from ssn_prune.runtime.trust import trust_of
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.surgery.guest import guest
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.surgery.undefined import require_defined
from ssn_prune.text import printable
from ssn_prune.verification.algebra import check_algebra, check_algebra_in_place
from ssn_prune.verification.compare import check_rounding
from ssn_prune.verification.other_runtimes import (
    check_in_runtimes,
    installed_backends,
    require_right,
)
from ssn_prune.verification.reference_outputs import (
    Outputs,
    ReferenceOutputs,
    float32_outputs,
    run_float64,
)
from ssn_prune.verification.results import (
    AlgebraCheck,
    RoundingCheck,
    RuntimeCheck,
    VerificationReport,
)
from ssn_prune.verification.selected_forms import selected_outputs


@guest()
def verify(
    pruned: PruneResult,
    onnx_path: Path | str | None,
    batches: Sequence[tuple[Tensor, ...]],
    *,
    algebra: bool = True,
    rounding: bool = True,
    provider: str = "cpu",
    runtimes: Sequence[str] = (),
    timeout: float = TIMEOUT,
    every_layer: bool = False,
    trust_pt2: bool = False,
    from_report: Path | str | None = None,
    progress: Progress = no_progress,
) -> VerificationReport:
    """Check that a conversion reproduces the outputs of the original.

    Args:
        pruned: Result of :func:`ssn_prune.prune`.
        onnx_path: The exported file; may be None if ``rounding`` is off and ``runtimes`` is empty.
        batches: Inputs of several calls; the more samples, the more is checked. The algebra check
            uses one of them, with at least two samples if there is one. :func:`random_batches`
            makes some.
        algebra: Run the algebra check: the pruned network against the original, both in float64.
        rounding: Run the rounding check: the file in its runtime against the original in float64.
        provider: ONNX Runtime's execution provider for the rounding check, such as ``"cuda"``;
            files of other formats run on the CPU.
        runtimes: Other runtimes to check the ONNX file in, such as ``"openvino"``.
        timeout: Seconds that loading and running the file may take in all, in each runtime. The
            file runs in a process of its own, which is killed after that.
        every_layer: Measure the error of every layer inside the file also if it passes.
        trust_pt2: Open a torch program (.pt2) whatever is in it; reading one executes its content.
        from_report: Report of the conversion that wrote a torch program. The program is opened only
            if it is, byte by byte, the one that the report names.
        progress: Called with the name of each step before it starts.

    Returns:
        The measured errors and bounds. A check that fails does not raise; look at ``passed``.

    Raises:
        VerificationError: The original returns NaN, so nothing can be compared with it.
        CaptureError: The original does not run in float64.
        InferenceRuntimeError: The file cannot be loaded or run, or takes too long; or a runtime is
            not installed.
        ArgumentError: ``timeout`` is not a positive number, a runtime does not exist, the provider
            is not installed or does not work, or the report names no torch program.
        UntrustedFileError: The file is a torch program that nothing vouches for.
    """
    backends = installed_backends(runtimes)
    path = Path(onnx_path) if (rounding or backends) and onnx_path is not None else None
    opening = opening_of(
        path, timeout, provider, runtimes, trust_pt2=trust_pt2, from_report=from_report
    )
    adoption = pruned.report.adoption
    check, outputs = check_in_float64(
        Networks.of(pruned),
        batches,
        algebra=algebra,
        rounding=path is not None,
        progress=progress,
    )
    if path is None or outputs is None:
        return VerificationReport(check, None, adoption)
    compared = None
    if rounding:
        progress("verifying: running the file")
        with apart(path, opening) as file_format:
            compared = check_file(
                file_format, path, Networks.of(pruned), batches, outputs, every_layer=every_layer
            )
    others: tuple[RuntimeCheck, ...] = ()
    if backends:
        progress(f"verifying: running the file in {', '.join(b.title for b in backends)}")
        others = check_in_runtimes(backends, path, pruned.original, batches, outputs, timeout)
    return VerificationReport(check, compared, adoption, others)


def opening_of(
    path: Path | None,
    timeout: float,
    provider: str,
    runtimes: Sequence[str],
    *,
    trust_pt2: bool,
    from_report: Path | str | None,
) -> Opening:
    """Check the arguments for opening a file; they are those of :func:`verify`.

    Raises:
        ArgumentError: An argument is invalid, or does not fit this file.
        UntrustedFileError: The file is a torch program that nothing vouches for.
    """
    reports = () if from_report is None else (from_report,)
    trust = trust_of(trust_pt2=trust_pt2, reports=reports)
    device = provider_named(provider)
    if path is not None:
        require_trusted(path, trust)
        if runtimes and format_of(path) is not EXPORT_FORMATS[0]:
            raise ArgumentError(
                "other runtimes read ONNX files",
                expected="an ONNX file",
                found=f"{printable(path.name)} and `runtimes={','.join(runtimes)}`",
                hint="leave `runtimes=` out, or convert to ONNX",
            )
    return Opening(timeout, device, trust)


def apart(path: Path, opening: Opening) -> AbstractContextManager[ExportFormat]:
    """The format of a file that anyone may have written, in a process of its own if possible.

    Raises:
        InferenceRuntimeError: The file cannot be loaded, or takes too long.
    """
    file_format = format_of(path)
    if file_format.apart is None:
        return nullcontext(file_format)
    return file_format.apart(path, opening)


def check_file(
    file_format: ExportFormat,
    path: Path,
    networks: Networks,
    batches: Sequence[tuple[Tensor, ...]],
    outputs: ReferenceOutputs,
    *,
    every_layer: bool = False,
) -> RoundingCheck:
    """Compare a file with the reference. If it fails, find the first layer that is off.

    A file that exceeds its bound is compared again, with what the selected formulas lose in float32
    as a part of the bound.

    Args:
        file_format: Its format.
        path: The file.
        networks: The networks of the pruning.
        batches: Inputs of several calls.
        outputs: Outputs of the reference for them.
        every_layer: Measure the error of every layer also if the file passes.

    Raises:
        InferenceRuntimeError: The runtime cannot load or run the file.
    """
    listed = () if file_format.outputs is None else file_format.outputs(path)
    run = file_format.open(path)
    found = check_rounding(run, batches, outputs, listed)
    if not found.passed:
        selected = selected_outputs(networks.original, networks.plan, batches)
        found = check_rounding(run, batches, replace(outputs, selected=selected), listed)
    found = replace(found, provider=file_format.provider, runtime=file_format.runtime)
    if (found.passed and not every_layer) or file_format.layer_errors is None:
        return found
    layers = file_format.layer_errors(networks.original, path, batches[0])
    off = (layer.layer for layer in layers if not layer.error <= layer.bound)
    return replace(found, first_layer_off=None if found.passed else next(off, None), layers=layers)


@dataclass(frozen=True)
class Networks:
    """The networks of a pruning that its checks need.

    Attributes:
        original: The network with switchable layers; not changed.
        reference: The network that a file must agree with: ``original``, or the one that was given.
        plan: The plan that makes the pruned network from ``original``.
    """

    original: nn.Module
    reference: nn.Module
    plan: Plan

    @staticmethod
    def of(pruned: PruneResult) -> Networks:
        """The networks of a result, without the pruned one."""
        return Networks(pruned.original, pruned.reference, pruned.plan)


def check_in_float64(
    networks: Networks,
    batches: Sequence[tuple[Any, ...]],
    *,
    algebra: bool,
    rounding: bool,
    progress: Progress = no_progress,
) -> tuple[AlgebraCheck | None, ReferenceOutputs | None]:
    """The algebra check and the reference outputs, from the same runs.

    Args:
        networks: The networks.
        batches: Inputs of several calls.
        algebra: Run the algebra check.
        rounding: Collect the reference outputs.
        progress: Called with the name of each step before it starts.

    Returns:
        The algebra check and the reference outputs, each None if it was not asked for.
    """
    original, reference = networks.original, networks.reference
    check, exact = None, None
    if algebra and rounding and reference is original:
        check, exact = _check_algebra_and_run(networks, batches, progress)
    elif algebra:
        progress(_EVERY_LAYER)
        check = check_algebra(original, networks.plan, batches[_batch_for_algebra(batches)])
    if not rounding:
        return check, None
    if exact is None:
        progress(_IN_FLOAT64)
        wide = float64_copy(reference)
        exact = [run_float64(wide, batch) for batch in batches]
        del wide
    for outputs in exact:
        require_defined(outputs)
    progress("verifying: running the original in float32")
    own = [float32_outputs(original, batches)]
    if reference is not original:
        own.append(float32_outputs(reference, batches))
    return check, ReferenceOutputs(exact, tuple(own))


_EVERY_LAYER = "verifying every layer in float64"
_IN_FLOAT64 = "verifying: running the original in float64"


def _check_algebra_and_run(
    networks: Networks, batches: Sequence[tuple[Any, ...]], progress: Progress
) -> tuple[AlgebraCheck, Outputs]:
    """The algebra check, and the original's outputs for all batches, with one float64 copy."""
    seen, wide = _batch_for_algebra(batches), float64_copy(networks.original)
    progress(_IN_FLOAT64)
    exact = [[] if i == seen else run_float64(wide, batch) for i, batch in enumerate(batches)]
    progress(_EVERY_LAYER)
    check, exact[seen] = check_algebra_in_place(
        wide, networks.original, networks.plan, batches[seen]
    )
    return check, exact


def _batch_for_algebra(batches: Sequence[tuple[Any, ...]]) -> int:
    """Index of the batch for the algebra check.

    With dynamic spatial sizes it is the last batch, whose size is not the one of the capture. Else
    it is the smallest with two samples or more, which show whether samples are mixed; float64 is
    slow.
    """
    shapes = [[leaf.shape for leaf in tensor_leaves(batch)] for batch in batches]
    last = len(batches) - 1
    if any([s[1:] for s in shape] != [s[1:] for s in shapes[last]] for shape in shapes):
        return last
    several = [i for i, shape in enumerate(shapes) if all(len(s) and s[0] >= 2 for s in shape)]
    return min(several, key=lambda i: shapes[i][0][0], default=last)


NOTHING_WRITTEN = (
    "nothing was written; please report this network with what `select(model)` finds in it"
)

_EXPORT_BRANCH = (
    "nothing was written; look for code that asks whether it is exported "
    "(torch.compiler.is_exporting, torch.onnx.is_in_onnx_export) or whether there are gradients "
    "(torch.is_grad_enabled), and let it compute the same in any case. If there is none, please "
    "report this network with what `select(model)` finds in it"
)
_ROUNDING_IN_FLOAT64 = (
    "the error is one of rounding, even in float64: the mean of a layer's inputs is 10,000 "
    "deviations or more. Pass `algebra=False` to leave this check out; the other one compares the "
    "file with the network"
)
_ROUNDING = (
    "the error is one of rounding: in float32 the file loses more digits than the network, which "
    "happens where a layer's inputs have a mean of many deviations. Pass `rounding=False` to leave "
    "this check out, and compare the outputs on your own inputs"
)


def require_passed(report: VerificationReport, hint: str = NOTHING_WRITTEN) -> None:
    """Raise if a check failed.

    Args:
        report: The checks.
        hint: The hint of the error.

    Raises:
        VerificationError: A check failed; the error names the first layer that is off, or the
            runtime.
    """
    algebra, rounding = report.algebra, report.rounding
    if algebra is not None and not algebra.passed:
        layer = algebra.first_layer_off
        raise VerificationError(
            f"the pruned network is not the original: {_place(layer)}",
            layer=layer,
            expected=f"equal in float64 within {algebra.tolerance:.3g} of scale, at every layer",
            found=f"output off by {algebra.output_error:.3g} of scale, "
            f"{algebra.worst_layer} by {algebra.worst_layer_error:.3g}",
            hint=_ROUNDING_IN_FLOAT64 if algebra.near else hint,
        )
    if rounding is not None and not rounding.passed:
        layer = rounding.first_layer_off
        if not math.isfinite(rounding.bound):
            raise VerificationError(
                f"the original network gives infinity or NaN in float32 at {rounding.output}, "
                "where it gives numbers in float64",
                layer=layer,
                expected="numbers within the range of float32, which is 3.4e38",
                found=f"numbers up to {rounding.scale:.3g} in float64",
                hint="look for values that grow too large on the way, and scale them before",
            )
        if rounding.near:
            hint = _ROUNDING
        elif hint == NOTHING_WRITTEN:
            hint = _EXPORT_BRANCH
        own_error = max(rounding.original_float32_error, rounding.selected_float32_error or 0.0)
        agreement = rounding.top1_agreement
        scale = f"{rounding.scale:.3g}"
        if rounding.activation is not None:
            scale += f", the range of {rounding.activation}"
        raise VerificationError(
            f"the exported file does not give the original's outputs: {rounding.output} is off, "
            f"{_place(layer)}",
            layer=layer,
            expected=f"an error of at most {rounding.bound:.3g} (4 x the original's own float32 "
            f"error {own_error:.3g} + 1e-6 x {scale})"
            + (" and the same top-1 classes" if agreement is not None else ""),
            found=f"an error of {rounding.max_error:.3g}"
            + (f", top-1 agreement {agreement:.1%}" if agreement is not None else ""),
            hint=hint,
        )
    require_right(report.runtimes, hint)


def _place(layer: str | None) -> str:
    return f"first layer that is off: {layer}" if layer else "no single layer could be blamed"
