"""``ssn-prune report``: a saved run in any format, or two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssn_prune.cli.options import Debug, Json, Quiet
from ssn_prune.cli.reports import report_paths, require_reports, write_texts
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import require_distinct
from ssn_prune.console import Output, comparison_lines, comparison_table, escape, verdict_lines


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A report: JSON, or a page, which contains it.")
    ],
    new: Annotated[
        Path | None, typer.Argument(metavar="[NEW]", help="A newer report to compare it with.")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write: .html, .json, .csv, .md or, for one run, .svg; may be repeated. "
            "The verdict is always printed.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing output.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Render the report of a conversion, or compare two reports."""
    out = Output(as_json=json, quiet=quiet)
    with exit_on_error(out, debug):
        paths = report_paths("--output", output)
        inputs = {"RUN": run} if new is None else {"RUN": run, "NEW": new}
        require_distinct(inputs, [("--output", path) for path in paths])
        require_reports(paths, force=force, comparison=new is not None)
        from ssn_prune.reporting.formats.table import comparison_text, report_text
        from ssn_prune.reporting.reading import read_run
        from ssn_prune.reporting.view.layers import layers_of
        from ssn_prune.reporting.view.verdict import verdict_of

        first = read_run(run)
        if new is None:
            write_texts(paths, lambda path: report_text(path, first))
            if json:
                out.json(first.document())
            for line in verdict_lines(verdict_of(first, layers_of(first))):
                out.message(line)
        else:
            from ssn_prune.json_values import to_json
            from ssn_prune.reporting.view.comparison import comparison_of

            second = read_run(new)
            write_texts(paths, lambda path: comparison_text(path, first, second))
            found = comparison_of(first, second)
            if json:
                out.json(to_json(found))
            out.table(comparison_table(found))
            for line in comparison_lines(found):
                out.message(line)
        for path in paths:
            out.message(f"[bold]wrote {escape(path)}[/]")
