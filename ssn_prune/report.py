"""The report: what the stages of a conversion found, put together.

The JSON form is documented in docs/report.md. ``SCHEMA_VERSION`` grows when a field changes its
meaning or disappears, and when parts are added that readers may rely on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ssn_prune.checkpoint.source import Source
from ssn_prune.environment import Environment
from ssn_prune.exported_file import FileStats
from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.onnx_export.results import OnnxStats
from ssn_prune.progress import StepTime
from ssn_prune.pruned_weights.results import WeightsStats
from ssn_prune.pruning.results import LayerReport, NetworkStats, RoundedGates
from ssn_prune.verification.results import VerificationReport

SCHEMA_VERSION = 3


@dataclass(frozen=True)
class ConversionReport:
    """What the stages of a conversion found; the fields of stages that did not run are None.

    ``format`` is that of the file. ``onnx`` describes an ONNX file, ``exported`` one of another
    format, in that format's terms; ``weights`` is the file of pruned weights next to it.
    ``command`` is the command line as it was typed, empty if Python was called; ``options`` are the
    fields of :class:`ssn_prune.ConvertOptions`; ``environment`` and ``steps`` say where the
    conversion ran and how long it took. ``preprocessing`` is how images become inputs, as the file
    states it.
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
    exported: FileStats | dict[str, Any] | None = None
    weights: WeightsStats | None = None
    command: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    environment: Environment | None = None
    steps: tuple[StepTime, ...] = ()
    preprocessing: Preprocessing | None = None

    @property
    def has_file(self) -> bool:
        """Whether the conversion wrote a file."""
        return self.onnx is not None or self.exported is not None

    def __repr__(self) -> str:
        """The file and how far the conversion got."""
        nodes = "" if self.onnx is None else f", {self.onnx.nodes} ONNX nodes"
        checks = self.verification
        state = "" if checks is None else ", checks passed" if checks.passed else ", checks failed"
        name, count = self.source.file_name, len(self.layers)
        return f"<ConversionReport of {name}: {count} layers{nodes}{state}>"
