"""Every layer, as the strip, the table and the CSV file show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssn_prune.pruning.results import GateReport, LayerReport
from ssn_prune.reporting.figures import NBSP
from ssn_prune.surgery.results import LayerError

if TYPE_CHECKING:  # inspect shows layers without the imports of a run
    from ssn_prune.report import ConversionReport
    from ssn_prune.reporting.run import Run

MOVED = {
    "scale_and_shift": "all of it into {}",
    "absorbed_by_preceding_norm": "all of it into {}",
    "scale_and_shift_into_following": "all of it into {}",
    "scale": "the scale of its variance into {}",
    "running_mean": "its mean into {}",
    "centring": "nothing; the dead bias of {} centres its input",
}
"""What a fold moves, by its code; the braces stand for the name of the module."""
_BOTH = ("scale_and_shift", "absorbed_by_preceding_norm", "scale_and_shift_into_following")


@dataclass(frozen=True)
class Cell:
    """One statistic of one layer.

    Attributes:
        normalizer: ``"IN"``, ``"LN"`` or ``"BN"``, the one with the largest ratio.
        folded: Whether it moved into another module and costs nothing any more.
        unfinished: Whether its gate is not one-hot.
        ratios: All ratios as text, if the gate is not one-hot.
    """

    normalizer: str
    folded: bool
    unfinished: bool
    ratios: str | None

    @property
    def letter(self) -> str:
        """Its first letter."""
        return self.normalizer[:1]


@dataclass(frozen=True)
class Layer:
    """One switchable layer.

    Attributes:
        number: Its place in the order of the calls, from 1.
        name: Its path.
        stage: The part of the network that it belongs to.
        mean: Its mean.
        var: Its variance.
        channels: Number of channels; None if unknown.
        positions: Positions of a plane, if that is one fixed number.
        form: The form that it became; None before a conversion.
        fate: What folded and where to, or why nothing did.
        milliseconds: Its remaining time in one run; None if it was not measured or has no nodes.
        error: Its error inside the file, or else in the algebra check; None without either.
        producer: The operator that computes its input.
    """

    number: int
    name: str
    stage: str
    mean: Cell
    var: Cell
    channels: int | None
    positions: int | None
    form: str | None
    fate: str
    milliseconds: float | None
    error: LayerError | None
    producer: str | None

    @property
    def shape(self) -> str:
        """Channels and positions as text."""
        channels = "?" if self.channels is None else str(self.channels)
        return channels if self.positions is None else f"{channels}{NBSP}×{NBSP}{self.positions}"

    @property
    def pair(self) -> str:
        """Mean and variance: ``BN/LN``."""
        return f"{self.mean.normalizer}/{self.var.normalizer}"

    @property
    def unfinished(self) -> bool:
        """Whether one of its gates is not one-hot."""
        return self.mean.unfinished or self.var.unfinished

    @property
    def folded(self) -> bool:
        """Whether both its mean and its variance are folded away."""
        return self.mean.folded and self.var.folded


def layers_of(run: Run) -> tuple[Layer, ...]:
    """The layers of a run in the order of their calls; layers that are not called come last."""
    costs = {} if run.bench is None else {c.layer: c.milliseconds for c in run.bench.layers}
    return _layers(run.report, costs, {error.layer: error for error in profile_of(run)})


def layers_of_report(report: ConversionReport) -> tuple[Layer, ...]:
    """The layers of a report, without costs and errors."""
    return _layers(report, {}, {})


def _layers(
    report: ConversionReport, costs: Mapping[str, float], errors: Mapping[str, LayerError]
) -> tuple[Layer, ...]:
    last = len(report.layers)
    ordered = sorted(report.layers, key=lambda r: last if r.order is None else r.order)
    return tuple(
        Layer(
            number=number,
            name=layer.name,
            stage=layer.stage or layer.name.partition(".")[0],
            mean=_cell(layer.mean, layer.fold in (*_BOTH, "running_mean")),
            var=_cell(layer.var, layer.fold in (*_BOTH, "scale")),
            channels=layer.channels,
            positions=layer.positions,
            form=layer.form,
            fate=_fate(layer),
            milliseconds=costs.get(layer.name),
            error=errors.get(layer.name),
            producer=layer.producer,
        )
        for number, layer in enumerate(ordered, 1)
    )


def profile_of(run: Run) -> tuple[LayerError, ...]:
    """The errors of all layers: those inside the file if measured, or else of the algebra check.

    If the algebra check failed, its errors are the ones to look at.
    """
    checks = run.report.verification
    if checks is None:
        return ()
    if checks.algebra is not None and not checks.algebra.passed:
        return checks.algebra.layers
    if checks.rounding is not None and checks.rounding.layers:
        return checks.rounding.layers
    return () if checks.algebra is None else checks.algebra.layers


def _cell(gate: GateReport, folded: bool) -> Cell:
    ratios = " ".join(f"{name} {ratio:.2f}" for name, ratio in gate.ratios.items())
    return Cell(gate.choice, folded, not gate.converged, None if gate.converged else ratios)


def _fate(report: LayerReport) -> str:
    if report.fold is None:
        return report.reason or ""
    what = MOVED.get(report.fold, report.fold.replace("_", " ") + " into {}")
    return what.replace("{}", report.folded_into or "?")
