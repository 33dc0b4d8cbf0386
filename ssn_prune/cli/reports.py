"""The files of a report that a command writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ssn_prune.cli.targets import file_path
from ssn_prune.errors import OutputError, VerificationError

Reports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write a report: .html (a page), .json, .csv (a row per layer), .md (a model "
        "card) or .svg (the strip of layers); may be repeated. For several checkpoints, only the "
        "suffix.",
    ),
]


def report_paths(option: str, given: Sequence[str] | None) -> list[Path]:
    """The paths of the reports that the user typed.

    Raises:
        OutputError: One means standard output or a folder.
    """
    return [file_path(option, text) for text in given or ()]


def require_reports(paths: Sequence[Path], *, force: bool, comparison: bool = False) -> None:
    """Find out before the work whether reports can be written.

    Raises:
        OutputError: One cannot.
        ArgumentError: A suffix belongs to no format.
    """
    from ssn_prune.files import require_writable, resolved
    from ssn_prune.reporting.formats.table import format_for

    for path in paths:
        require_writable(resolved(path), force=force)
        format_for(path, comparison=comparison)


def write_reports(
    document: dict[str, Any], paths: Sequence[Path], *, written: Path | None = None
) -> None:
    """Write the reports of a run.

    Args:
        document: The JSON document of the run.
        paths: Files, whose suffixes choose the formats.
        written: A model that was already written, which an error then mentions.

    Raises:
        OutputError: One cannot be written.
    """
    if not paths:
        return
    from ssn_prune.reporting.formats.table import report_text
    from ssn_prune.reporting.run import run_of

    run = run_of(document)
    write_texts(paths, lambda path: report_text(path, run), written=written)


@contextmanager
def failures_reported(paths: Sequence[Path], command: tuple[str, ...]) -> Iterator[None]:
    """Also write the reports of a conversion whose checks fail, then raise its error again."""
    from ssn_prune.reporting.run import document_of

    try:
        yield
    except VerificationError as error:
        if error.report is not None:
            write_reports(document_of(replace(error.report, command=command)), paths)
        raise


def write_texts(
    paths: Sequence[Path], text_of: Callable[[Path], str], *, written: Path | None = None
) -> None:
    """Write files, each with its own text.

    Raises:
        OutputError: One cannot be written.
    """
    from ssn_prune.files import replacing, resolved, write_errors

    for path in paths:
        text = text_of(path)
        try:
            with write_errors(path), replacing(resolved(path)) as temporary:
                temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
        except OutputError as error:
            raise OutputError(
                error.problem if written is None else f"{written} was written, but not {path}",
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from error
