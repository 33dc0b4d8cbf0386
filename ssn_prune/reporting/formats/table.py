"""The formats by suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssn_prune.errors import ArgumentError
from ssn_prune.reporting.formats.comparison import compared_html
from ssn_prune.reporting.formats.csv import compared_csv, csv
from ssn_prune.reporting.formats.html import html
from ssn_prune.reporting.formats.json import compared_json, json
from ssn_prune.reporting.formats.markdown import compared_markdown, markdown
from ssn_prune.reporting.formats.svg import svg
from ssn_prune.reporting.run import Run


@dataclass(frozen=True)
class ReportFormat:
    """One format.

    Attributes:
        suffix: Suffix of its files.
        title: Short description, for messages.
        write: Gives the text of a file for one run.
        compare: The same for two runs, the old one first; None if the format has no comparison.
    """

    suffix: str
    title: str
    write: Callable[[Run], str]
    compare: Callable[[Run, Run], str] | None


FORMATS: tuple[ReportFormat, ...] = (
    ReportFormat(".html", "a page", html, compared_html),
    ReportFormat(".json", "the whole document", json, compared_json),
    ReportFormat(".csv", "a row per layer", csv, compared_csv),
    ReportFormat(".md", "a model card", markdown, compared_markdown),
    ReportFormat(".svg", "the strip of layers", svg, None),
)


def format_for(path: Path, *, comparison: bool = False) -> ReportFormat:
    """The format of a file, by its suffix.

    Raises:
        ArgumentError: No format has this suffix, or none that compares two runs.
    """
    known = [entry for entry in FORMATS if not comparison or entry.compare is not None]
    for entry in known:
        if entry.suffix == path.suffix.lower():
            return entry
    listed = ", ".join(f"{entry.suffix} ({entry.title})" for entry in known)
    what = "a comparison of two runs" if comparison else "a report"
    raise ArgumentError(
        f"{what} has no format for {path.name!r}",
        expected=f"a file whose name ends in {listed}",
        found=f"the suffix {path.suffix!r}" if path.suffix else "no suffix",
        hint=f"name the file {path.with_suffix('.html').name}",
    )


def report_text(path: Path, run: Run) -> str:
    """The content of a file about one run, in the format of its suffix."""
    return format_for(path).write(run)


def comparison_text(path: Path, old: Run, new: Run) -> str:
    """The content of a file that compares two runs, in the format of its suffix."""
    compare = format_for(path, comparison=True).compare
    assert compare is not None  # format_for returns only formats with a comparison
    return compare(old, new)
