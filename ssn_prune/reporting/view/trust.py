"""Whether the result can be trusted: the checks, their errors and their bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssn_prune.reporting.figures import counted, share, small, times
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.layers import Layer
from ssn_prune.surgery.results import AdoptionCheck
from ssn_prune.verification.results import VerificationReport

LITTLE = 0.001
"""Shares of a bound below this need no figure."""


@dataclass(frozen=True)
class Mark:
    """A mark on the ruler of errors, relative to the scale of the output.

    Attributes:
        label: Its label.
        value: The error or bound.
        kind: ``"own"``, ``"file"`` or ``"allowed"``.
    """

    label: str
    value: float
    kind: str


@dataclass(frozen=True)
class Point:
    """The error of one layer.

    Attributes:
        layer: Number of the layer.
        name: Path of the layer.
        error: Error relative to the scale of the layer's output.
        bound: The largest error that is allowed.
    """

    layer: int
    name: str
    error: float
    bound: float


@dataclass(frozen=True)
class Profile:
    """The errors by depth.

    Attributes:
        finding: The result in one sentence.
        what: What was compared with what.
        points: The layers in the order of their calls.
    """

    finding: str
    what: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Check:
    """One row of the table of checks.

    Attributes:
        name: Name of the check.
        what: What was compared.
        passed: Whether it passed; None if it was not run.
        error: The largest error, as text.
        allowed: The largest error that is allowed, as text.
    """

    name: str
    what: str
    passed: bool | None
    error: str
    allowed: str


@dataclass(frozen=True)
class Trust:
    """The results of the checks.

    Attributes:
        finding: The result in one sentence.
        marks: The marks on the ruler; empty if the file was not run.
        profiles: Errors by depth.
        checks: One row for each check.
    """

    finding: str
    marks: tuple[Mark, ...]
    profiles: tuple[Profile, ...]
    checks: tuple[Check, ...]


def trust_of(run: Run, layers: tuple[Layer, ...]) -> Trust | None:
    """The results of the checks; None if none was run."""
    checks = run.report.verification
    if checks is None or (checks.algebra is None and checks.rounding is None):
        return None
    rows = [*_adoption(checks.adoption), *_algebra(checks), *_rounding(checks)]
    rows += [
        Check(
            f"{c.runtime} {c.version}",
            "the file there against the original in float64",
            c.passed,
            small(c.error),
            small(c.bound),
        )
        for c in checks.runtimes
    ]
    return Trust(_finding(checks), _marks(checks), _profiles(checks, layers), tuple(rows))


def _finding(checks: VerificationReport) -> str:
    rounding, algebra = checks.rounding, checks.algebra
    if algebra is not None and not algebra.passed:
        return "The plan itself is wrong: it differs from the original in float64"
    if rounding is None:
        return "The plan is exact in float64; the file was not run"
    if not math.isfinite(rounding.bound):
        return "The original itself gives infinity or NaN in float32"
    if not rounding.bound > 0:
        return "The outputs are all 0"
    used = rounding.max_error / rounding.bound
    if not rounding.passed and not used <= 1:
        return f"The file is off by {times(used)} times what is allowed"
    if not rounding.passed:
        return "The file gives different top-1 classes"
    return f"The file uses {share(used)} of the error that is allowed"


def _marks(checks: VerificationReport) -> tuple[Mark, ...]:
    rounding = checks.rounding
    if rounding is None:
        return ()
    unit = rounding.scale or 1.0
    return (
        Mark("original in float32", rounding.original_float32_error / unit, "own"),
        Mark("this file", rounding.max_error / unit, "file"),
        Mark("allowed", rounding.bound / unit, "allowed"),
    )


def _profiles(checks: VerificationReport, layers: tuple[Layer, ...]) -> tuple[Profile, ...]:
    numbers = {layer.name: layer.number for layer in layers}
    adoption, algebra, rounding = checks.adoption, checks.algebra, checks.rounding
    found = (
        (rounding, "inside the file", "The file at every layer against the original in float64"),
        (algebra, "of the plan", "The pruned network against the original, both in float64"),
    )
    profiles = []
    for check, where, what in found:
        errors = () if check is None else check.layers
        points = tuple(
            Point(numbers[e.layer], e.layer, e.error, e.bound) for e in errors if e.layer in numbers
        )
        if points:
            profiles.append(Profile(_profile_finding(points, where), what, points))
    errors = () if adoption is None else adoption.layer_errors
    points = tuple(
        Point(numbers[e.layer], e.layer, e.error, e.bound) for e in errors if e.layer in numbers
    )
    if points:
        what = "Layers of ssn_prune against your code, before anything is pruned"
        profiles.append(Profile(_profile_finding(points, "against your code"), what, points))
    return tuple(profiles)


def _profile_finding(points: tuple[Point, ...], where: str) -> str:
    off = [point for point in points if not point.error <= point.bound]
    if off:
        more = f" and {len(off) - 1} more" if len(off) > 1 else ""
        return f"{off[0].name}{more} {'are' if more else 'is'} off {where}"
    used = [(p.error / p.bound, p) for p in points if p.bound > 0 and math.isfinite(p.bound)]
    most, point = max(used, key=lambda entry: entry[0], default=(0.0, points[0]))
    if most < LITTLE:
        return f"Every layer {where} uses less than {share(LITTLE)} of its bound"
    return f"No layer {where} uses more than {share(most)} of its bound ({point.name})"


def _adoption(check: AdoptionCheck | None) -> list[Check]:
    if check is None:
        return []
    if not check.compared:
        what = (
            "no other code: every switchable layer is one of ssn_prune"
            if check.reason == "own_layers"
            else f"your code cannot run here: {check.detail}"
        )
        return [Check("your code", what, None, "", "")]
    where = f"in {check.precision}, at {counted(check.layers, 'layer')}"
    what = f"layers of ssn_prune against yours, {where}"
    error, allowed = check.output_error, check.tolerance
    return [Check("your code", what, True, _or_none(error), _or_none(allowed))]


def _or_none(value: float | None) -> str:
    return "" if value is None else small(value)


def _algebra(checks: VerificationReport) -> list[Check]:
    check = checks.algebra
    if check is None:
        return [Check("algebra", "switched off", None, "", "")]
    what = "the pruned network against the original in float64, at the output and every layer"
    error = max(check.output_error, check.worst_layer_error)
    return [Check("algebra", what, check.passed, small(error), small(check.tolerance))]


def _rounding(checks: VerificationReport) -> list[Check]:
    check = checks.rounding
    if check is None:
        return [Check("rounding", "switched off", None, "", "")]
    sizes = ", ".join(str(size) for size in sorted(set(check.batch_sizes)))
    what = (
        f"the file against the original in float64, {counted(check.inputs, 'input')} at batch "
        f"sizes {sizes}"
    )
    if check.top1_agreement is not None:
        what += f", same top-1 class for {share(check.top1_agreement)}"
    unit = check.scale or 1.0
    error, allowed = small(check.max_error / unit), small(check.bound / unit)
    return [Check("rounding", what, check.passed, error, allowed)]
