"""The result of a search in words: its changes, its gain and its loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ssn_prune.reporting.figures import NBSP, counted, points, share
from ssn_prune.searching.choosing import latency
from ssn_prune.searching.results import DEVIATIONS

if TYPE_CHECKING:  # the terminal shows searches without the imports of a run
    from ssn_prune.reporting.run import Run
    from ssn_prune.searching.results import FrontPoint, SearchReport

NOT_ONE_HOT = "not one-hot"


def delivered(report: SearchReport) -> FrontPoint:
    """The network that the search delivered."""
    return report.finetuned or report.front[report.chosen]


def gain_of(report: SearchReport) -> str:
    """The gain of the delivered network, as the beginning of a sentence."""
    found = delivered(report)
    if not found.changes:
        return "Nothing faster is within the bounds: the network stays as it is"
    if not certain(report):
        return "The difference in latency is within this machine’s noise"
    if report.saved is None or not report.saved > 0:
        return "No time is saved"
    return f"{share(min(1.0, report.saved))} of what normalization cost is gone"


def certain(report: SearchReport) -> bool:
    """Whether the latencies differ by more than half of the larger interquartile range."""
    first, last = report.front[0], delivered(report)
    spreads = [(p.upper or 0.0) - (p.lower or 0.0) for p in (first, last)]
    return abs(latency(first) - latency(last)) > max(spreads) / 2


def loss_of(report: SearchReport) -> str:
    """The result of the final test: ``0.7 points are lost, which is within chance``."""
    found = report.test.difference
    beyond = ""
    if report.is_refuted:
        beyond = f"more than the {report.options.allowed_drop:g} that may be lost"
    if found is None:
        change = f"the outputs change by {share(report.test.harm)}"
        return ", ".join(filter(None, (change, beyond)))
    others = report.test.others
    refuted = beyond if report.is_accuracy_refuted else ""
    also = "" if others is None else f"; the other outputs change by {share(others)}"
    if also and beyond and not refuted:
        also += f", {beyond}"
    if found.mean == 0:
        return f"the accuracy is the same{also}"
    chance = "within chance" if found.lower <= 0 <= found.upper else "more than chance"
    better = "gained" if found.mean > 0 else "lost"
    lost = f"{points(abs(found.mean)).lstrip('+')} points are {better}"
    return f"{lost}, which is {refuted or chance}{also}"


REFUTED = (
    "The bound held on the images of the search and does not hold on those of the test, which may "
    "be of another kind. Search with images such as those that the network will see"
)


def predicted_sentence(device: str) -> str:
    """What latencies of another device are, as a sentence without its full stop."""
    return (
        f"Latencies are predicted from the costs that were measured with {device}; nothing was "
        "timed here. Time the delivered file there"
    )


def ends_of(report: SearchReport) -> str:
    """The confidence interval of the difference in the final test; empty without labels."""
    found = report.test.difference
    if found is None:
        return ""
    level = share(found.confidence)
    return f"{level} interval {points(found.lower)}{NBSP}to{NBSP}{points(found.upper)}"


def changed_layers(report: SearchReport) -> str:
    """The number of changed layers: ``9 of 20 layers have another pair``."""
    count = len(delivered(report).changes)
    verb = "has" if count == 1 else "have"
    return f"{count} of {counted(report.layers, 'layer')} {verb} another pair"


def searched_sentence(run: Run) -> str | None:
    """A sentence that says how a search changed the network; None if it did not."""
    report = run.search
    if report is None or not delivered(report).changes:
        return None
    tuned = ", and the result was distilled" if report.finetuned is not None else ""
    return (
        f"a search changed {len(delivered(report).changes)} of {counted(report.layers, 'layer')}"
        f"{tuned}. {gain_of(report)}; on {counted(report.images.test, 'unseen image')} "
        f"{loss_of(report)}."
    )


def searched_figures(run: Run) -> list[tuple[str, str, str]]:
    """Value, label and note of the gain and the loss; empty if the search changed nothing."""
    report = run.search
    if report is None or not delivered(report).changes:
        return []
    ratio, before = latency(delivered(report)), latency(report.front[0])
    kind = "latency" if report.predicted_for is None else "predicted latency"
    figures = [(f"{ratio:.3f}", f"{kind}, no norms = 1", f"{before:.3f} before")]
    found = report.test.difference
    if found is None:
        images = counted(report.images.test, "image")
        return [*figures, (share(report.test.harm), "change of the outputs", f"on {images}")]
    return [*figures, (points(found.mean), "points of accuracy", ends_of(report))]


def before_of(run: Run) -> dict[str, str]:
    """The original's pair of every layer that a search changed, by path."""
    if run.search is None:
        return {}
    changes = delivered(run.search).changes
    return {c.layer: NOT_ONE_HOT if c.before is None else str(c.before) for c in changes}


def loss_interval(report: SearchReport, point: FrontPoint) -> tuple[float, ...]:
    """The 95 % interval of the loss, in points; empty if it is not known."""
    found = point.difference
    if found is not None:
        ends = (-100 * found.upper, -100 * found.lower)
    elif report.has_classes:
        return ()
    else:  # the loss is the harm
        half = 100 * DEVIATIONS * point.error
        ends = (point.drop - half, point.drop + half)
    return ends if all(map(math.isfinite, ends)) else ()
