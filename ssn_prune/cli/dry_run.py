"""``--dry-run``: what a conversion would write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_prune.console import Output, deployment_lines, escape, show_conversion
from ssn_prune.errors import ArgumentError

if TYPE_CHECKING:
    from ssn_prune.report import ConversionReport


def require_nothing_written(given: Mapping[str, object]) -> None:
    """Refuse options that write or measure the file.

    Args:
        given: Their values by option.

    Raises:
        ArgumentError: Such an option was given.
    """
    for name, value in given.items():
        if value:
            raise ArgumentError(
                f"--dry-run writes nothing, so {name} has no file to work on",
                expected="--dry-run alone, or with --json",
                found=f"--dry-run and {name}",
                hint=f"leave {name} out; --json prints what is found",
            )


def show_dry_run(out: Output, report: ConversionReport, every: bool, target: Path) -> None:
    """Print the plan, its reasons and the nodes of the file.

    Args:
        out: Where to print.
        report: The report of the dry run.
        every: Show each layer in a row of its own.
        target: The file that a conversion would write.
    """
    if out.as_json:
        from ssn_prune.json_values import to_json

        out.json(to_json(report))
    show_conversion(out, report, every=every)
    for line in deployment_lines(report):
        out.message(line)
    out.message("[bold]nothing was written[/], and nothing verified")
    if target.exists():
        out.message(f"{escape(target)} exists: converting needs --force")
