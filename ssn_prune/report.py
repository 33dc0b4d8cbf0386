"""The report: what the stages of a conversion found, put together.

The JSON form is documented in docs/report.md; ``SCHEMA_VERSION`` grows when a field changes its
meaning or disappears, not when one is added.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssn_prune.checkpoint.source import Source
from ssn_prune.export_formats import FileStats
from ssn_prune.onnx_export.results import OnnxStats
from ssn_prune.pruned_weights.records import WeightsStats
from ssn_prune.pruning.results import LayerReport, NetworkStats, RoundedGates
from ssn_prune.verification.results import VerificationReport

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class ConversionReport:
    """What the stages of a conversion found; those that did not run are None.

    ``format`` is that of the file. ``onnx`` describes an ONNX file, ``exported`` one of another
    format, in that format's terms; ``weights`` is the file of pruned weights beside it.
    """

    schema_version: int
    ssn_prune_version: str
    source: Source
    layers: tuple[LayerReport, ...]
    before: NetworkStats | None = None
    after: NetworkStats | None = None
    capture_error: str | None = None
    rounded: RoundedGates | None = None
    onnx: OnnxStats | None = None
    verification: VerificationReport | None = None
    captured_parts: tuple[str, ...] = ()
    size_conditions: tuple[str, ...] = ()
    format: str | None = None
    exported: FileStats | None = None
    weights: WeightsStats | None = None
