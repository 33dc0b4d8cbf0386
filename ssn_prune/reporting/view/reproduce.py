"""How to reproduce a run: command, options, versions, machine, hashes and times."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ssn_prune.reporting.figures import seconds, size
from ssn_prune.reporting.run import Run


@dataclass(frozen=True)
class Reproduce:
    """What a run depended on.

    Attributes:
        command: The command line; None if Python was called.
        facts: Labels and texts, in groups with a title.
        steps: Name and duration of each step that took a tenth of a second or more.
    """

    command: str | None
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    steps: tuple[tuple[str, str], ...]


def reproduce_of(run: Run) -> Reproduce:
    """What a run depended on."""
    report = run.report
    groups = {
        "Checkpoint": _checkpoint(run),
        "File": _file(run),
        "Options": [
            (name.replace("_", " "), _shown(value))
            for name, value in report.options.items()
            if value is not None
        ],
        "Machine": _machine(run),
    }
    return Reproduce(
        shlex.join(report.command) if report.command else None,
        tuple((title, tuple(facts)) for title, facts in groups.items() if facts),
        tuple((s.step, seconds(s.seconds)) for s in report.steps if s.seconds >= 0.1),
    )


def _shown(value: object) -> str:
    return (
        {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )


def _checkpoint(run: Run) -> list[tuple[str, str]]:
    source = run.report.source
    facts = [("file", source.file_name), ("SHA-256", source.sha256 or "not computed")]
    facts += [("architecture", source.arch)] if source.arch else []
    facts += [(name, str(value)) for name, value in source.arch_args.items()]
    facts += [("weights entry", source.entry)] if source.entry else []
    facts += [("prefix removed", source.prefix)] if source.prefix else []
    return facts + [(name, str(value)) for name, value in source.facts.items()]


def _file(run: Run) -> list[tuple[str, str]]:
    onnx, exported = run.report.onnx, run.document().get("exported")
    if onnx is None:
        known = exported if isinstance(exported, dict) else {}
        named = {"file_name": "file", "sha256": "SHA-256", "torch_version": "written by torch"}
        return [(title, str(known[key])) for key, title in named.items() if known.get(key)]
    facts = [("file", onnx.file_name), ("size", size(onnx.bytes))]
    facts += [("SHA-256", onnx.sha256)] if onnx.sha256 else []
    return [*facts, ("opset, IR version", f"{onnx.opset}, {onnx.ir_version}")]


def _machine(run: Run) -> list[tuple[str, str]]:
    found = run.report.environment
    facts = [("ssn_prune", run.report.ssn_prune_version)]
    if found is None:
        return facts
    facts += [("Python", found.python), *found.packages.items()]
    cores = "1 core" if found.cores == 1 else f"{found.cores} cores"
    return [*facts, ("system", found.system), ("processor", f"{found.processor}, {cores}")]
