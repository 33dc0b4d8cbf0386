"""What you need to know to deploy the file: inputs, outputs, preprocessing, versions, weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssn_prune.console.text import escape

if TYPE_CHECKING:
    from ssn_prune.onnx_export.results import OnnxStats
    from ssn_prune.report import ConversionReport


def deployment_lines(report: ConversionReport) -> list[str]:
    """Inputs, outputs, preprocessing, versions, weights; empty for a file that is not ONNX."""
    onnx, source = report.onnx, report.source
    if onnx is None:
        return []
    lines = [_values(onnx, "input"), _values(onnx, "output"), *_preprocessing(report)]
    lines.append(f"[bold]for[/] {escape(onnx.target)}, opset {onnx.opset}, IR {onnx.ir_version}")
    entry = "the whole file" if source.entry is None else f"the entry {source.entry}"
    others = ""
    if source.other_entries:
        others = f"; --weights takes {', '.join(source.other_entries)}"
    lines.append(f"[bold]weights[/] {escape(entry)} of {escape(source.file_name)}{escape(others)}")
    return lines


def _preprocessing(report: ConversionReport) -> list[str]:
    """How images become inputs, and whether the file does it; empty if that is not known."""
    # Imported here, because only text output needs it.
    from ssn_prune.reporting.view.preprocessing import normalization_text, resizing_text

    how = report.preprocessing
    if how is None:
        return []
    if report.options.get("embed_preprocessing"):
        line = (
            f"{resizing_text(how)}; the file takes pixels, and computes {normalization_text(how)}"
        )
    else:
        line = f"{resizing_text(how)}; {normalization_text(how)} of pixels x"
    return [f"[bold]preprocessing[/] {escape(line)}"]


def _values(onnx: OnnxStats, kind: str) -> str:
    values = onnx.inputs if kind == "input" else onnx.outputs
    shown = [
        f"{escape(name)} {onnx.types.get(name, '')} {_shape(shape)}"
        for name, shape in values.items()
    ]
    fixed = kind == "input" and all(
        isinstance(size, int) for shape in values.values() for size in shape[1:]
    )
    more = " [dim](--input-size, or --dynamic spatial for all sizes)[/]" if fixed else ""
    return f"[bold]{kind}{'s' if len(values) > 1 else ''}[/] {'; '.join(shown)}{more}"


def _shape(shape: list[str | int]) -> str:
    return escape(f"({', '.join(map(str, shape))})")
