"""Markdown with front matter: a model card."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.choice import NAMES
from ssn_prune.reporting.view.comparison import comparison_of
from ssn_prune.reporting.view.page import Page, page_of
from ssn_prune.reporting.view.search import SearchView
from ssn_prune.reporting.view.searched import NOT_ONE_HOT

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def markdown(run: Run) -> str:
    """The model card of a run."""
    page = page_of(run)
    return "\n\n".join([_front_matter(run), *_sections(page)]) + "\n"


def _front_matter(run: Run) -> str:
    """YAML whose values are JSON, which is safe for any name."""
    report = run.report
    fields: dict[str, object] = {
        "library_name": "onnx",
        "tags": ["onnx", "switchable-normalization", "ssn_prune"],
        "base_model_file": report.source.file_name,
        "architecture": report.source.arch,
        "ssn_prune_version": report.ssn_prune_version,
    }
    if report.onnx is not None:
        fields["file"] = report.onnx.file_name
        fields["sha256"] = report.onnx.sha256
        fields["opset"] = report.onnx.opset
    if report.verification is not None:
        fields["verified"] = report.verification.passed and report.verification.rounding is not None
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items() if value is not None]
    return "\n".join(["---", *lines, "---"])


def _sections(page: Page) -> list[str]:
    verdict = page.verdict
    parts = [
        f"# {text(page.title)}",
        f"**{text(verdict.lead)}**{text(verdict.sentence)} {text(verdict.detail)}",
        _table(("", "", ""), ((f.label, f.value, f.note) for f in verdict.figures)),
    ]
    if page.layers:
        rows = zip(NAMES, page.choice.counts, strict=True)
        parts += [
            "## What it chose",
            f"{text(page.choice.finding)}. Layers by mean (rows) and variance:",
            _table(("", *NAMES), ((name, *map(str, counts)) for name, counts in rows)),
        ]
    if page.search is not None:
        parts += _search(page.search)
    if page.gains is not None:
        labels = [bar.label for bar in page.gains.bars]
        times = ("latency", *(bar.text for bar in page.gains.bars))
        rows_of = ((label, *values) for label, values in page.gains.rows)
        parts += ["## What it gains", f"{text(page.gains.finding)}. {text(page.gains.how)}"]
        parts.append(_table(("", *labels), (times, *rows_of)))
    if page.trust is not None:
        words = {True: "passed", False: "failed", None: "–"}
        parts += ["## Can I trust it?", f"{text(page.trust.finding)}."]
        parts.append(
            _table(
                ("check", "result", "error", "allowed", "what was compared"),
                ((c.name, words[c.passed], c.error, c.allowed, c.what) for c in page.trust.checks),
            )
        )
    if page.accuracy is not None:
        seen = page.accuracy
        parts += ["## On real images", f"{text(seen.finding)}. {text(seen.what)}:"]
        parts.append(_table(("", *seen.columns), ((label, *pair) for label, pair in seen.rows)))
        parts.append("\n".join(f"- {text(note)}." for note in seen.notes))
    if page.layers:
        parts.append("## Layers")
        parts.append(
            _table(
                ("#", "layer", "mean/variance", "becomes", "folded into, or why not"),
                ((str(x.number), x.name, x.pair, x.form or "", x.fate) for x in page.layers),
            )
        )
    parts.append("## Reproduce")
    if page.reproduce.command is not None:
        parts.append(_code(page.reproduce.command))
    facts = [
        (f"{title}: {name}", found)
        for title, pairs in page.reproduce.facts
        for name, found in pairs
    ]
    return [*parts, _table(("", ""), facts)]


def _search(found: SearchView) -> list[str]:
    parts = [
        "## What the search changed",
        f"{text(found.finding)}. {text(found.front.finding)}. {text(found.test_finding)}.",
    ]
    if found.changes:
        rows = (
            (row.layer, "/".join(row.before) if row.before else NOT_ONE_HOT, "/".join(row.after))
            for row in found.changes
        )
        parts.append(_table(("layer", "before", "chosen"), rows))
    parts.append("\n".join(f"- {text(note)}." for note in found.notes))
    return parts


def compared_markdown(old: Run, new: Run) -> str:
    """The differences between two runs."""
    found = comparison_of(old, new)
    parts = [
        f"# {text(found.title)}",
        f"{text(found.finding)}.",
        _table(("", "old", "new"), ((r.label, r.old, r.new) for r in found.rows)),
    ]
    if found.changes:
        changes = ((c.name, c.old, c.new, c.old_form, c.new_form) for c in found.changes)
        parts.append(_table(("layer", "old", "new", "old form", "new form"), changes))
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(content: str) -> str:
    """An indented code block, which no content can end."""
    return "\n".join(f"    {line}" for line in content.splitlines())


def text(content: str) -> str:
    """Text on one line, escaped so that neither Markdown nor HTML interprets it."""
    return _SPECIAL.sub(r"\\\1", " ".join(content.split(" ")).replace("\n", " "))
