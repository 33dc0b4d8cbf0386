"""verify: both checks on one conversion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ssn_prune.errors import VerificationError
from ssn_prune.graph.plan import Plan
from ssn_prune.progress import Progress, silent
from ssn_prune.pruning import PruneResult
from ssn_prune.report import VerificationReport
from ssn_prune.verification.algebra import check_algebra
from ssn_prune.verification.rounding import check_rounding

BATCH_SIZES = (1, 2, 3)


def random_batches(
    shapes: Sequence[tuple[int, ...]], batch_sizes: Sequence[int], seed: int = 0
) -> list[tuple[Tensor, ...]]:
    """Standard normal inputs, the same at every call.

    Args:
        shapes: Shape of each input without the batch axis.
        batch_sizes: One call per entry.
        seed: Seed of the generator.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(size, *shape, generator=generator) for shape in shapes)
        for size in batch_sizes
    ]


def verify(
    pruned: PruneResult,
    onnx_path: Path | str | None,
    batches: Sequence[tuple[Tensor, ...]],
    *,
    algebra: bool = True,
    rounding: bool = True,
) -> VerificationReport:
    """Check that a conversion gives the answers of the original.

    Args:
        pruned: Result of :func:`ssn_prune.prune`.
        onnx_path: The exported file; may be None if ``rounding`` is off.
        batches: Inputs of several calls, at least 4 samples in all; the algebra check uses the
            last. :func:`random_batches` makes some.
        algebra: Compare the plan in float64 with the original in float64.
        rounding: Compare the file in ONNX Runtime with the original in float64.

    Returns:
        The measured errors and bounds; look at ``passed``.
    """
    path = None if onnx_path is None else Path(onnx_path)
    return run_checks(
        pruned.original, pruned.plan, path, batches, algebra=algebra, rounding=rounding
    )


def run_checks(
    original: nn.Module,
    plan: Plan,
    path: Path | None,
    batches: Sequence[tuple[Tensor, ...]],
    *,
    algebra: bool,
    rounding: bool = True,
    progress: Progress = silent,
) -> VerificationReport:
    """As :func:`verify`, without the pruned network, which neither check needs."""
    algebra_check = rounding_check = None
    if algebra:
        progress("verifying every layer in float64")
        algebra_check = check_algebra(original, plan, batches[-1])
    if rounding and path is not None:
        rounding_check = check_rounding(original, path, batches, progress)
    return VerificationReport(algebra_check, rounding_check)


def require_passed(report: VerificationReport) -> None:
    """Raise if a check failed.

    Raises:
        VerificationError: It names the first layer that is off.
    """
    algebra, rounding = report.algebra, report.rounding
    if algebra is not None and not algebra.passed:
        layer = algebra.first_layer_off
        raise VerificationError(
            f"the pruned network is not the original: {_place(layer)}",
            layer=layer,
            expected=f"equal in float64 within {algebra.tolerance:g} of scale, at every layer",
            found=f"output off by {algebra.output_error:.3g} of scale, "
            f"{algebra.worst_layer} by {algebra.worst_layer_error:.3g}",
        )
    if rounding is not None and not rounding.passed:
        layer = rounding.first_layer_off
        agreement = rounding.top1_agreement
        raise VerificationError(
            f"the exported file does not give the original's answers: {_place(layer)}",
            layer=layer,
            expected=f"an error of at most {rounding.bound:.3g} (4 x the original's own float32 "
            f"error {rounding.original_float32_error:.3g} + 1e-6 x {rounding.scale:.3g})"
            + (" and the same top-1 answers" if agreement is not None else ""),
            found=f"an error of {rounding.max_error:.3g}"
            + (f", top-1 agreement {agreement:.1%}" if agreement is not None else ""),
        )


def _place(layer: str | None) -> str:
    return f"first layer that is off: {layer}" if layer else "no single layer could be blamed"
