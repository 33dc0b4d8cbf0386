"""Compare two runs: what changed from the old one to the new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssn_prune.reporting.figures import counted, milliseconds, percent, points, size, small
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.layers import Layer, layers_of
from ssn_prune.reporting.view.searched import delivered, loss_of
from ssn_prune.reporting.view.speed import speed_of
from ssn_prune.reporting.view.verdict import verdict_of
from ssn_prune.searching.choosing import latency

_ABSENT = "–"


@dataclass(frozen=True)
class Row:
    """One figure of both runs."""

    label: str
    old: str
    new: str

    @property
    def changed(self) -> bool:
        """Whether it differs."""
        return self.old != self.new


@dataclass(frozen=True)
class Change:
    """A layer that differs.

    Attributes:
        name: Its path.
        old: Mean and variance in the old run; a dash if it has no such layer.
        new: Mean and variance in the new run.
        old_form: The form that it became in the old run.
        new_form: The form that it became in the new run.
    """

    name: str
    old: str
    new: str
    old_form: str
    new_form: str


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        title: The names of both checkpoints.
        finding: The changes in one sentence.
        rows: Figures of both.
        changes: Layers that differ, in the order of the new run; those that it lacks come last.
    """

    title: str
    finding: str
    rows: tuple[Row, ...]
    changes: tuple[Change, ...]


def comparison_of(old: Run, new: Run) -> Comparison:
    """Compare two runs."""
    changes = _changes(layers_of(old), layers_of(new))
    rows = tuple(
        row
        for label, figure in _FIGURES.items()
        if (row := Row(label, figure(old), figure(new))) and {row.old, row.new} != {_ABSENT}
    )
    both = f"{old.report.source.file_name} and {new.report.source.file_name}"
    return Comparison(both, _finding(changes, rows), rows, changes)


def _changes(old: tuple[Layer, ...], new: tuple[Layer, ...]) -> tuple[Change, ...]:
    before, after = ({layer.name: layer for layer in layers} for layers in (old, new))
    found = []
    for name in [*after, *(name for name in before if name not in after)]:
        one, two = before.get(name), after.get(name)
        change = Change(name, _pair(one), _pair(two), _form(one), _form(two))
        if change.old != change.new or change.old_form != change.new_form:
            found.append(change)
    return tuple(found)


def _pair(layer: Layer | None) -> str:
    if layer is None:
        return _ABSENT
    return f"{layer.pair}{' (not one-hot)' if layer.unfinished else ''}"


def _form(layer: Layer | None) -> str:
    return _ABSENT if layer is None or layer.form is None else layer.form


def _finding(changes: tuple[Change, ...], rows: tuple[Row, ...]) -> str:
    selections = sum(change.old != change.new for change in changes)
    forms = len(changes) - selections
    if not changes:
        other = any(row.changed for row in rows)
        return "Every layer is the same" if other else "Both runs are the same"
    parts = [f"{counted(selections, 'layer')} selected something else"] if selections else []
    if forms:
        parts.append(f"{counted(forms, 'layer')} became something else")
    return ", ".join(parts)


def _verdict(run: Run) -> str:
    return verdict_of(run, layers_of(run)).lead.rstrip(":,.")


def _nodes(run: Run) -> str:
    return _ABSENT if run.report.onnx is None else f"{run.report.onnx.nodes:,}"


def _bytes(run: Run) -> str:
    return _ABSENT if run.report.onnx is None else size(run.report.onnx.bytes)


def _opset(run: Run) -> str:
    onnx = run.report.onnx
    return _ABSENT if onnx is None else f"{onnx.opset}, for {onnx.target}"


def _latency(run: Run) -> str:
    speed = speed_of(run.bench)
    return _ABSENT if speed is None else milliseconds(speed.pruned.median_ms)


def _changed(run: Run) -> str:
    return _ABSENT if run.search is None else str(len(delivered(run.search).changes))


def _searched_latency(run: Run) -> str:
    return _ABSENT if run.search is None else f"{latency(delivered(run.search)):.3f}"


def _searched_loss(run: Run) -> str:
    if run.search is None:
        return _ABSENT
    found = run.search.test.difference
    return loss_of(run.search) if found is None else f"{points(found.mean)} points"


def _error(run: Run) -> str:
    checks = run.report.verification
    if checks is None or checks.rounding is None:
        return _ABSENT
    unit = checks.rounding.scale or 1.0
    return f"{small(checks.rounding.max_error / unit)} of {small(checks.rounding.bound / unit)}"


def _accuracy(run: Run) -> str:
    """The file's top-1 accuracy, or its mean intersection over union."""
    found = run.accuracy
    if found is None:
        return _ABSENT
    kinds = ((found.file.top1, "of"), (found.file.miou, "mean IoU on"))
    said = [f"{percent(value)} {what}" for value, what in kinds if value is not None]
    return f"{said[0]} {counted(found.images, 'image')}" if said else _ABSENT


def _one_hot(run: Run) -> str:
    layers = run.report.layers
    return f"{sum(layer.converged for layer in layers)} of {len(layers)}"


def _folded(run: Run) -> str:
    return str(sum(layer.folded for layer in layers_of(run)))


def _versions(run: Run) -> str:
    found = run.report.environment
    own = f"ssn_prune {run.report.ssn_prune_version}"
    packages = {} if found is None else found.packages
    used = (f"{name} {packages[name]}" for name in ("torch", "onnxruntime") if name in packages)
    return ", ".join((own, *used))


_FIGURES: dict[str, Callable[[Run], str]] = {
    "checkpoint": lambda run: run.report.source.file_name,
    "SHA-256": lambda run: (run.report.source.sha256 or _ABSENT)[:12],
    "verdict": _verdict,
    "one-hot layers": _one_hot,
    "folded away": _folded,
    "ONNX nodes": _nodes,
    "file": _bytes,
    "opset": _opset,
    "latency": _latency,
    "layers changed by a search": _changed,
    "latency after the search, no norms = 1": _searched_latency,
    "change in accuracy, on unseen images": _searched_loss,
    "error, of what is allowed": _error,
    "accuracy on images": _accuracy,
    "versions": _versions,
}
