"""Read saved runs: JSON files, or pages, which contain it. Nothing in them is executed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from ssn_prune.errors import ReportError
from ssn_prune.files import bounded_text
from ssn_prune.reporting.run import Run, run_of

LARGEST_FILE = 32 * 2**20
"""A report of 300 layers takes 0.3 MB, with a gate history 0.4 MB."""
DATA_ID = "run"
"""The id of the element of a page that holds the document."""
_COMPARISON = '<script type="application/json" id="runs">'
_ELEMENT = re.compile(rf'<script type="application/json" id="{DATA_ID}">(.*?)</script>', re.DOTALL)


def read_run(path: Path) -> Run:
    """Read a report.

    Args:
        path: A JSON document, or a page.

    Raises:
        ReportError: The file is missing, too large, or not a report.
    """
    text = _text(path)
    if text.lstrip()[:1] == "<":
        found = _ELEMENT.search(text)
        if found is None and _COMPARISON in text:
            raise ReportError(
                f"{path} compares two runs, and is not the report of one",
                expected="the page or the JSON of one run",
                found="a comparison",
                hint="give one of the two reports that it compares",
            )
        if found is None:
            raise ReportError(
                f"{path} is not a page of ssn_prune",
                expected="a page, which contains the JSON of its run",
                found="a page without it",
                hint="give the page as it was written, or the JSON",
            )
        text = found[1]
    try:
        document: Any = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ReportError(
            f"{path} is not JSON",
            expected="a complete JSON document",
            found="lists nested too deeply" if isinstance(error, RecursionError) else str(error),
            hint="write the report again",
        ) from error
    return run_of(document)


def _text(path: Path) -> str:
    try:
        return bounded_text(path, LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise ReportError(
            f"{path} cannot be read as a report",
            expected=f"a JSON document or a page of at most {LARGEST_FILE // 2**20} MB",
            found=getattr(error, "strerror", None) or str(error),
            hint="check the path; a conversion writes a report only on request",
        ) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is not a JSON number")
