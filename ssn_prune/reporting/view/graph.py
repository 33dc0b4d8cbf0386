"""The graph: operators before and after, the passes that fired, and what the file leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.onnx_export.results import OnnxStats
from ssn_prune.reporting.run import Run
from ssn_prune.text import listed, shortened

_PLACES = 4


@dataclass(frozen=True)
class Operator:
    """How often an operator occurs; None for a graph whose operators were not counted."""

    name: str
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Graph:
    """The graphs of the network and of the file.

    Attributes:
        finding: The size of the graph in one sentence.
        operators: PyTorch operators before and after, the most frequent first.
        nodes: ONNX operators in the file, the most frequent first.
        passes: Code, count and places of the passes that fired.
        notes: What a user of the file should know.
        signature: ``"input"`` or ``"output"``, name, and element type with shape.
    """

    finding: str
    operators: tuple[Operator, ...]
    nodes: tuple[tuple[str, int], ...]
    passes: tuple[tuple[str, int, str], ...]
    notes: tuple[str, ...]
    signature: tuple[tuple[str, str, str], ...]


def graph_of(run: Run) -> Graph | None:
    """The graph of a run; None if nothing was converted."""
    report, onnx = run.report, run.report.onnx
    before = {} if report.before is None else report.before.operators or {}
    after = {} if report.after is None else report.after.operators or {}
    if onnx is None and not before and not after:
        return None
    names = sorted({*before, *after}, key=lambda n: (-max(before.get(n, 0), after.get(n, 0)), n))
    nodes = () if onnx is None else sorted(onnx.operators.items(), key=lambda e: (-e[1], e[0]))
    passes = () if onnx is None else onnx.passes
    ends = (
        ()
        if onnx is None
        else [("input", *end) for end in onnx.inputs.items()]
        + [("output", *end) for end in onnx.outputs.items()]
    )
    return Graph(
        _finding(run),
        tuple(Operator(n, before.get(n, 0) if before else None, after.get(n, 0)) for n in names),
        tuple(nodes),
        tuple((entry.code, entry.count, listed(entry.modules, _PLACES)) for entry in passes),
        tuple(_notes(run)),
        tuple((kind, name, _typed(onnx, name, shape)) for kind, name, shape in ends),
    )


def _typed(onnx: OnnxStats | None, name: str, shape: list[str | int]) -> str:
    """The element type and the shape of an input or output; older reports have no types."""
    sizes = " × ".join(map(str, shape))
    return f"{'' if onnx is None else onnx.types.get(name, '')} {sizes}".strip()


def _finding(run: Run) -> str:
    onnx, report = run.report.onnx, run.report
    if onnx is not None:
        kinds = len(onnx.operators)
        return f"{onnx.nodes:,} ONNX nodes of {kinds} kinds, opset {onnx.opset}, for {onnx.target}"
    before = report.before.operators if report.before is not None else None
    return f"{sum((before or {}).values()):,} operators before"


def _notes(run: Run) -> list[str]:
    report, onnx = run.report, run.report.onnx
    notes = []
    if report.capture_error is not None:
        parts = listed(report.captured_parts, _PLACES) or "none"
        notes.append(f"Captured in parts ({parts}): {report.capture_error}")
    for condition in report.size_conditions[:_PLACES]:
        notes.append(f"The network’s code assumes of its inputs: {shortened(condition)}")
    if onnx is not None:
        if onnx.external_data is not None:
            notes.append(
                f"The weights are in {onnx.external_data}, which must be next to the file."
            )
        if onnx.left_out:
            notes.append(f"Left out, because they are not tensors: {', '.join(onnx.left_out)}")
        for wrong in onnx.misread:
            places = listed(wrong.modules, _PLACES)
            cure = "" if wrong.target is None else f"; a file for {wrong.target} avoids it"
            what = f"{wrong.what} in {places}{cure}"
            notes.append(f"{wrong.runtime} misreads without an error: {what}")
    return notes
