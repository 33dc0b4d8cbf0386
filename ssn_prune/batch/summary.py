"""The results of all jobs, one row each."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ssn_prune.batch.running import Result
from ssn_prune.text import spreadsheet_cell

COLUMNS = (
    "checkpoint",
    "output",
    "exit_code",
    "seconds",
    "layers",
    "pairs",
    "onnx_nodes",
    "bytes",
    "max_error",
    "bound",
    "problem",
)


@dataclass(frozen=True)
class Row:
    """One checkpoint.

    Attributes:
        name: The checkpoint's path within the folder that was given.
        output: The file that was written; None if there is none.
        exit_code: The exit code of the conversion.
        seconds: How long it took.
        layers: Number of switchable layers; None if the conversion failed.
        pairs: What they selected, the most frequent first: ``12 IN/BN, 3 BN/BN``.
        nodes: Number of nodes in the ONNX file.
        bytes: Size of the file.
        max_error: The largest error of an output in the runtime; None if that was not checked.
        bound: The largest error that is allowed.
        problem: What went wrong.
    """

    name: str
    output: str | None
    exit_code: int
    seconds: float
    layers: int | None = None
    pairs: str | None = None
    nodes: int | None = None
    bytes: int | None = None
    max_error: float | None = None
    bound: float | None = None
    problem: str | None = None


def row_of(result: Result) -> Row:
    """The row of a result."""
    job, document = result.job, result.document
    if result.exit_code or "layers" not in document:
        problem = result.problem or f"exit code {result.exit_code}"
        return Row(job.name, None, result.exit_code or 1, result.seconds, problem=problem)
    layers = document["layers"]
    pairs = Counter(f"{x['mean']['choice']}/{x['var']['choice']}" for x in layers)
    onnx = document.get("onnx") or {}
    rounding = (document.get("verification") or {}).get("rounding") or {}
    return Row(
        job.name,
        str(job.output),
        0,
        result.seconds,
        len(layers),
        ", ".join(f"{count} {pair}" for pair, count in pairs.most_common()),
        onnx.get("nodes"),
        onnx.get("bytes"),
        rounding.get("max_error"),
        rounding.get("bound"),
    )


def csv_of(rows: Sequence[Row]) -> str:
    """All rows as the text of a CSV file with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        seconds = f"{row.seconds:.2f}"
        values: list[object] = [row.name, row.output, row.exit_code, seconds]
        values += [row.layers, row.pairs, row.nodes, row.bytes, row.max_error]
        values += [row.bound, row.problem]
        writer.writerow(["" if value is None else spreadsheet_cell(value) for value in values])
    return text.getvalue()
