"""Several checkpoints in one command: each in its own process, with the same options."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from ssn_prune.cli.command_line import typed_options
from ssn_prune.cli.exit_codes import INTERRUPTED
from ssn_prune.cli.reports import require_reports, write_texts
from ssn_prune.cli.runner import exit_on_error
from ssn_prune.cli.targets import make_folder
from ssn_prune.console import Output, batch_line, batch_table, result_line
from ssn_prune.errors import ArgumentError, OutputError

_OF_THE_BATCH = ("output", "report", "recursive", "jobs", "summary", "json", "quiet")
"""Parameters that are not passed on to the process of a checkpoint."""
_OF_ONE = ("history", "save_weights")


def is_batch(ckpts: Sequence[Path], summary: str | None) -> bool:
    """Whether a command is about several checkpoints."""
    return len(ckpts) > 1 or summary is not None or ckpts[0].is_dir()


def convert_all(
    context: typer.Context,
    out: Output,
    ckpts: Sequence[Path],
    *,
    output: str | None,
    reports: Sequence[str],
    recursive: bool,
    jobs: int,
    summary: str | None,
    force: bool,
    debug: bool,
) -> None:
    """Convert every checkpoint, show the result of each, and exit with the largest exit code.

    Args:
        context: The context of the command.
        out: Where results go.
        ckpts: Files and folders.
        output: Folder for the files; None writes each file next to its checkpoint.
        reports: Suffixes of the reports to write next to them.
        recursive: Look into subfolders.
        jobs: Number of processes at a time.
        summary: CSV file with one row per checkpoint.
        force: Replace existing files.
        debug: Show tracebacks.
    """
    with exit_on_error(out, debug):
        from ssn_prune.batch.jobs import Job, jobs_of
        from ssn_prune.batch.running import Result, run_jobs
        from ssn_prune.batch.summary import Row, csv_of, row_of

        for name in _OF_ONE:
            if context.params.get(name) is not None:
                raise ArgumentError(
                    f"--{name.replace('_', '-')} belongs to one checkpoint",
                    expected="one checkpoint",
                    found=f"{len(ckpts)} files or folders",
                    hint="convert that checkpoint alone",
                )
        folder = None if output is None else _folder(output)
        suffix = f".{context.params['format'] or 'onnx'}"
        todo = jobs_of(ckpts, folder, suffix, _suffixes(reports), recursive=recursive)
        table = None if summary is None else Path(summary)
        if table is not None:
            if context.params["dry_run"]:
                raise ArgumentError(
                    "--dry-run writes nothing, so there is no --summary",
                    expected="--dry-run alone, or with --json",
                    found="--dry-run and --summary",
                    hint="leave --summary out; --json prints all rows",
                )
            if table.suffix.lower() != ".csv":
                raise ArgumentError(
                    "--summary is a CSV file",
                    expected="a name that ends in .csv",
                    found=str(summary),
                    hint=f"--summary {table.with_suffix('.csv')}",
                )
            require_reports([table], force=force)
        dry_run = bool(context.params["dry_run"])
        if not dry_run:  # the jobs refuse folders that are not there
            for place in dict.fromkeys(job.output.parent for job in todo):
                make_folder(place)
        running: list[str] = []
        done: list[Result] = []
        with out.bar("converting", len(todo)) as show:

            def started(job: Job) -> None:
                running.append(job.name)
                show(len(done), ", ".join(running))

            def finished(result: Result) -> None:
                running.remove(result.job.name)
                done.append(result)
                row = row_of(result)
                if row.exit_code:
                    out.error(f"{row.name}: {row.problem}", {})
                    if debug:
                        out.err.print(result.messages, markup=False)
                else:
                    out.message(result_line(row))
                show(len(done), ", ".join(running))

            options = typed_options(context, without=_OF_THE_BATCH)

            def command_of(job: Job) -> list[str]:
                command = [sys.executable, "-m", "ssn_prune", "convert", "--no-config", *options]
                command += ["--json", "--output", str(job.output)]
                command += [word for path in job.reports for word in ("--report", str(path))]
                return [*command, "--", str(job.checkpoint)]

            def shown(results: Sequence[Result], worst: int) -> list[Row]:
                rows = [row_of(result) for result in results]
                if table is not None:
                    write_texts([table], lambda _path: csv_of(rows))
                if out.as_json:
                    pairs = zip(rows, results, strict=True)
                    runs = [asdict(row) | {"run": r.document} for row, r in pairs]
                    out.json({"checkpoints": runs, "exit_code": worst})
                out.table(batch_table(rows, out.width))
                return rows

            try:
                results = run_jobs(todo, command_of, jobs, started, finished)
            except KeyboardInterrupt:  # what was converted by then is there
                shown(done, INTERRUPTED)
                out.message(f"[bold]interrupted: {len(done)} of {len(todo)} checkpoints ended[/]")
                raise
        worst = max(row_of(result).exit_code for result in results)
        out.message(batch_line(shown(results, worst), planned=dry_run))
    if worst:
        raise typer.Exit(worst)


def _folder(output: str) -> Path:
    path = Path(output)
    there = os.path.lexists(path) and not path.is_dir()
    if output == "-" or path.suffix in (".onnx", ".pt2") or there:
        raise OutputError(
            "several checkpoints, or a --summary of them, go into a folder",
            expected="a folder as --output",
            found=output,
            hint=f"name a folder: --output {path.with_suffix('') if path.suffix else 'models'}",
        )
    return path


def _suffixes(reports: Sequence[str]) -> list[str]:
    from ssn_prune.reporting.formats.table import FORMATS

    known = [entry.suffix for entry in FORMATS]
    for text in reports:
        if text not in known:
            raise ArgumentError(
                "--report names one file for several checkpoints",
                expected=f"a suffix, for a report next to each file: {', '.join(known)}",
                found=text,
                hint=f"--report {Path(text).suffix if Path(text).suffix in known else '.html'}",
            )
    return list(reports)
