"""What the checks found."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssn_prune.verification.results import VerificationReport


def verification_lines(report: VerificationReport) -> list[str]:
    """One line per check; errors stand beside the original's own."""
    lines = []
    if (algebra := report.algebra) is not None:
        lines.append(
            f"{_mark(algebra.passed)} algebra: float64 output differs by "
            f"{algebra.output_error:.1e} of scale, worst layer {algebra.worst_layer} by "
            f"{algebra.worst_layer_error:.1e} (allowed {algebra.tolerance:.0e})"
        )
    if (rounding := report.rounding) is not None:
        top1 = rounding.top1_agreement
        lines.append(
            f"{_mark(rounding.passed)} rounding: ONNX Runtime is off by {rounding.max_error:.2e}, "
            f"the original in float32 by {rounding.original_float32_error:.2e} (allowed "
            f"{rounding.bound:.2e}) over {rounding.inputs} inputs"
            + (f"; top-1 agreement {top1:.0%}" if top1 is not None else "")
        )
    if not lines:
        lines.append("[yellow]not verified[/]: both checks were switched off")
    return lines


def _mark(passed: bool) -> str:
    return "[green]passed[/]" if passed else "[red]FAILED[/]"
