"""The matrix of runtimes as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_verdicts import Cell


def table_of(cells: Sequence[Cell], runtimes: Sequence[str]) -> str:
    """A row for each file, a column for each runtime, and the reasons of failures below."""
    reasons: dict[str, int] = {}
    rows: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.network, cell.form, cell.target), {})[cell.runtime] = cell
    lines = ["| network | batch | target | " + " | ".join(runtimes) + " |"]
    lines.append("|---" * (3 + len(runtimes)) + "|")
    for (network, form, target), row in rows.items():
        found = [_text(row[name], reasons) if name in row else "" for name in runtimes]
        lines.append("| " + " | ".join([network, form, target, *found]) + " |")
    if reasons:
        lines += ["", *(f"{index}. {reason}" for reason, index in reasons.items())]
    return "\n".join(lines)


def _text(cell: Cell, reasons: dict[str, int]) -> str:
    if cell.verdict == "right":
        speed = "" if cell.latency is None else f", {cell.latency:.2f}"
        return f"{cell.error:.0e}{speed}"
    text = f"{cell.verdict} {cell.error:.0e}" if cell.verdict == "wrong" else cell.verdict
    if cell.reason:
        reason = " ".join(cell.reason.split())[:160]
        text += f" ({reasons.setdefault(reason, len(reasons) + 1)})"
    return f"{text}, as the twin" if cell.as_twin else f"**{text}**"
