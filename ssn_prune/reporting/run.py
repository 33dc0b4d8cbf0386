"""A run: the report of a conversion, with its benchmark, gate history, accuracy and search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssn_prune.accuracy.results import AccuracyReport
from ssn_prune.benchmarking.records import BenchReport
from ssn_prune.errors import ReportError
from ssn_prune.json_values import to_json
from ssn_prune.normalizer import Normalizer
from ssn_prune.report import SCHEMA_VERSION, ConversionReport
from ssn_prune.reporting.decoding import decoded
from ssn_prune.searching.results import SearchReport
from ssn_prune.text import shown
from ssn_prune.training.gate_traces import GateTrace

OLDEST_SCHEMA = 2
"""The oldest schema version that can be read; fields that it lacks have defaults."""


@dataclass(frozen=True)
class _Added:
    """The fields that a command adds to those of the report."""

    bench: BenchReport | None = None
    history: tuple[GateTrace, ...] | None = None
    accuracy: AccuracyReport | None = None
    search: SearchReport | None = None


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        report: The report of the conversion.
        bench: The benchmark of the networks; None if they were not timed.
        history: The gate history; None if it is not known.
        accuracy: Both networks on images; None if there were no images.
        search: How the selection was found; None if it comes from the training.
    """

    report: ConversionReport
    bench: BenchReport | None = None
    history: tuple[GateTrace, ...] | None = None
    accuracy: AccuracyReport | None = None
    search: SearchReport | None = None

    def document(self, *, defaults: bool = True) -> dict[str, Any]:
        """The whole run as JSON; without ``defaults``, fields with default values are left out."""
        parts = (self.bench, self.history, self.accuracy, self.search)
        return document_of(self.report, *parts, defaults=defaults)


def document_of(
    report: ConversionReport,
    bench: BenchReport | None = None,
    history: Sequence[GateTrace] | None = None,
    accuracy: AccuracyReport | None = None,
    search: SearchReport | None = None,
    *,
    defaults: bool = True,
) -> dict[str, Any]:
    """The JSON document of a run. Parts that are None have no field in it.

    Args:
        report: The report of the conversion.
        bench: The benchmark of the networks.
        history: The gate history.
        accuracy: Both networks on images.
        search: How the selection was found.
        defaults: Keep fields that have their default value.
    """
    document: dict[str, Any] = to_json(report, defaults=defaults)
    if bench is not None:
        document["bench"] = to_json(bench, defaults=defaults)
    if history is not None:
        document["history"] = to_json(tuple(history), defaults=defaults)
    if accuracy is not None:
        document["accuracy"] = to_json(accuracy, defaults=defaults)
    if search is not None:
        document["search"] = to_json(search, defaults=defaults)
    return document


def run_of(document: Any) -> Run:
    """The run that a document describes.

    Raises:
        ReportError: It is not such a document, or has another schema version.
    """
    if not isinstance(document, dict) or not isinstance(document.get("schema_version"), int):
        raise ReportError(
            "the document is not the report of a conversion",
            expected="a JSON object with a `schema_version` and `layers`",
            found=_kind(document),
            hint="give what a conversion wrote as its report",
        )
    version = document["schema_version"]
    if "layers" not in document or "source" not in document:
        raise ReportError(
            "the document is not the report of a conversion",
            expected="the fields `source` and `layers`",
            found=_kind(document),
            hint="give what a conversion wrote as its report",
        )
    if not OLDEST_SCHEMA <= version <= SCHEMA_VERSION:
        raise ReportError(
            f"the report has schema version {version}",
            expected=f"version {OLDEST_SCHEMA} to {SCHEMA_VERSION}",
            found=f"version {version}",
            hint="convert again, or use the version of ssn_prune that wrote it",
        )
    added = decoded(_Added, document)
    report = decoded(ConversionReport, document)
    _require_normalizers(report)
    return Run(report, added.bench, added.history, added.accuracy, added.search)


def _require_normalizers(report: ConversionReport) -> None:
    known = [normalizer.name for normalizer in Normalizer]
    for layer in report.layers:
        for gate in (layer.mean, layer.var):
            if gate.choice not in known or not set(gate.ratios) <= set(known):
                raise ReportError(
                    f"the gates of {shown(layer.name)} do not hold what a report needs there",
                    expected=f"a choice and ratios of {', '.join(known)}",
                    found=shown(f"{gate.choice}, {', '.join(gate.ratios)}"),
                    hint="write the report again, with this version of ssn_prune",
                )


def _kind(document: Any) -> str:
    if isinstance(document, dict):
        return "an error" if "error" in document else f"an object with {len(document)} fields"
    return "a list" if isinstance(document, list) else "no object"
