"""The result of a conversion, the most important parts first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssn_prune.console.choice import show_selection
from ssn_prune.console.output import Output
from ssn_prune.console.totals import (
    capture_lines,
    misread_lines,
    one_position_lines,
    rounded_line,
    totals_table,
)
from ssn_prune.console.verification import verification_lines

if TYPE_CHECKING:
    from ssn_prune.report import ConversionReport


def show_conversion(out: Output, report: ConversionReport, *, every: bool = False) -> None:
    """Print the selection, the size of the network before and after, warnings, and the checks.

    Args:
        out: Where to print.
        report: The report of the conversion.
        every: Show each layer in a row of its own, however many there are.
    """
    show_selection(out, report, f"{report.source.arch}: selection and folds", every=every)
    out.table(totals_table(report))
    for lines_of in (capture_lines, misread_lines, one_position_lines):
        for line in lines_of(report):
            out.message(line)
    if report.rounded is not None:
        out.message(rounded_line(report.rounded))
    if report.verification is not None:
        for line in verification_lines(report.verification):
            out.message(line)
