"""The results of the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssn_prune.console.text import escape
from ssn_prune.reporting.figures import counted

if TYPE_CHECKING:
    from ssn_prune.surgery.results import AdoptionCheck
    from ssn_prune.verification.results import (
        RoundingCheck,
        RuntimeCheck,
        VerificationReport,
    )


def verification_lines(report: VerificationReport) -> list[str]:
    """One line per check, with errors next to the original's own."""
    lines: list[str] = []
    if (algebra := report.algebra) is not None:
        lines.append(
            f"{_mark(algebra.passed)} algebra: float64 output differs by "
            f"{algebra.output_error:.1e} of scale, worst layer {escape(algebra.worst_layer)} by "
            f"{algebra.worst_layer_error:.1e} (allowed {algebra.tolerance:.0e})"
        )
    if report.rounding is not None:
        lines.append(_rounding_line(report.rounding))
    lines += [_runtime_line(check) for check in report.runtimes]
    if not lines:
        lines.append("[yellow]not verified[/]: both checks were switched off")
    if report.adoption is not None:
        lines[:0] = _adoption_lines(report.adoption)
    return lines


def _rounding_line(rounding: RoundingCheck) -> str:
    top1, unit = rounding.top1_agreement, rounding.scale or 1.0
    return (
        f"{_mark(rounding.passed)} rounding: {_where(rounding)} is off by "
        f"{rounding.max_error / unit:.1e} of scale, the original in float32 by "
        f"{rounding.original_float32_error / unit:.1e} (allowed {rounding.bound / unit:.1e}; "
        f"{_scale(rounding)}) over {counted(rounding.inputs, 'input')}"
    ) + (f"; top-1 agreement {top1:.0%}" if top1 is not None else "")


def _where(rounding: RoundingCheck) -> str:
    """The runtime that ran the file, with its provider."""
    provider = "" if rounding.provider is None else f" ({rounding.provider})"
    return f"{rounding.runtime}{provider}"


def _runtime_line(check: RuntimeCheck) -> str:
    """The error in another runtime, next to those of ONNX Runtime and of the BatchNorm twin."""
    twin = "does not run there"
    if check.twin_error is not None:
        twin = f"by {check.twin_error:.1e} there"
    return (
        f"{_mark(check.passed)} {check.runtime} {escape(check.version)}: off by {check.error:.1e} "
        f"of the largest output, ONNX Runtime by {check.onnxruntime_error:.1e}, a twin with "
        f"BatchNorm {twin} (allowed {check.bound:.0e})"
    )


def _scale(rounding: RoundingCheck) -> str:
    """The scale of the output that these errors are relative to."""
    if rounding.activation is not None:
        return f"the range of {rounding.activation} is {rounding.scale:.2g}"
    return f"the largest output is {rounding.scale:.2g}"


def _adoption_lines(adoption: AdoptionCheck) -> list[str]:
    """How the network compares with the user's code; a short note if there is no such code."""
    lines = []
    if adoption.reason == "code_cannot_run":
        lines.append(
            "[yellow]not compared with your code[/], which cannot run here: "
            f"{escape(adoption.detail or '')}"
        )
    elif adoption.compared:
        precision = str(adoption.precision)
        if adoption.narrow_operator is not None:
            precision += f" ({escape(adoption.narrow_operator)} is not possible in float64)"
        lines.append(
            f"{_mark(True)} your code: {counted(adoption.layers, 'layer')} compared with it in "
            f"{precision}; output differs by {adoption.output_error:.1e} of scale (allowed "
            f"{adoption.tolerance:.0e}), your code in float32 by {adoption.own_float32_error:.1e}"
        )
    else:
        lines.append("[dim]reference: layers of ssn_prune; no other code was given[/]")
    if adoption.layers_on_noise:
        lines.append(
            f"[dim]compared on noise only, because the inputs do not reach them: "
            f"{_some(adoption.layers_on_noise)}[/]"
        )
    if adoption.layers_not_compared:
        lines.append(
            "[yellow]not compared with your code[/], because the inputs do not reach them: "
            f"{_some(adoption.layers_not_compared)}"
        )
    if adoption.changed_buffers:
        shown = _some(adoption.changed_buffers)
        lines.append(f"[dim]a call changes {shown}, without effect on later ones[/]")
    return lines


def _some(names: tuple[str, ...]) -> str:
    return escape(", ".join(names[:4]))


def _mark(passed: bool) -> str:
    return "[green]passed[/]" if passed else "[red]FAILED[/]"
