"""Sample reports of a search, without a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from report_runs import layer, run

from ssn_prune.accuracy.results import Accuracy, PairedDifference
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.pruning.stages import stages_of
from ssn_prune.reporting.run import Run
from ssn_prune.searching.results import (
    SCHEMA_VERSION,
    FrontPoint,
    ImageCounts,
    PairChange,
    SearchOptions,
    SearchReport,
    SingleHarm,
    Tested,
)

FREE = NormalizerPair(Normalizer.BN, Normalizer.BN)


def searched(
    names: Sequence[str],
    *,
    points: int = 12,
    others: int = 5,
    labels: bool = True,
    soft: Sequence[int] = (),
    **parts: Any,
) -> SearchReport:
    """A search in which the n-th point of the front has the n cheapest changes.

    Args:
        names: Layers; all but the first may become BN/BN.
        points: Points of the front.
        others: Single changes of each layer.
        labels: Whether there were classes.
        soft: Layers whose gates were not one-hot.
        **parts: Fields to replace.
    """
    random = np.random.default_rng(5)
    before = [
        None if index in soft else ALL_PAIRS[random.integers(8)] for index in range(len(names))
    ]
    saved = random.uniform(0.02, 0.3, len(names)).round(4)
    harms = 10.0 ** random.uniform(-5, -0.5, len(names))
    singles = tuple(
        SingleHarm(
            *(name, depth, before[depth], pair, float(saved[depth]) * (1 - rank / 9)),
            *(float(harms[depth] / (1 + rank)), float(harms[depth] / 9)),
        )
        for depth, name in enumerate(names)
        for rank, pair in enumerate([FREE, *ALL_PAIRS[:-1]][:others])
    )
    order = np.argsort(harms)
    changes = [
        PairChange(names[i], before[i], FREE, float(saved[i])) for i in order if i or len(order) < 2
    ]
    front = []
    for place in range(points):
        count = round(place * len(changes) / max(1, points - 1))
        share = place / max(1, points - 1)
        drop = 40 * share**4
        top1 = Accuracy(0.866 - drop / 100, 0.99) if labels else Accuracy()
        ratio = 1.07 - 0.066 * share
        front.append(
            FrontPoint(
                *(tuple(changes[:count]), 0.3 * share**4, 0.01 * share, drop, top1, ratio + 0.002),
                *(ratio, ratio - 0.001, ratio + 0.002),
                PairedDifference(-drop / 100, -drop / 100 - 0.02, 0.018 - drop / 100, 0.95)
                if labels
                else None,
            )
        )
    chosen = min(points - 1, 4)
    difference = PairedDifference(-0.007, -0.027, 0.013, 0.95) if labels else None
    test = Tested(
        Accuracy(0.866, 0.993) if labels else Accuracy(),
        Accuracy(0.859, 0.993) if labels else Accuracy(),
        *(difference, 0.0021, 0.0001, 0.98 if labels else None),
    )
    report = SearchReport(
        schema_version=SCHEMA_VERSION,
        options=SearchOptions(max_drop=1.0),
        images=ImageCounts(100, 200, 149),
        layers=len(names),
        harm_unit="nats" if labels else "relative",
        singles=singles,
        front=tuple(front),
        chosen=chosen,
        norm_free_ms=29.8,
        all_bn=replace(front[-1], ratio=1.003, drop=61.0, lower=1.002, upper=1.004),
        saved=0.47,
        finetuned=None,
        test=test,
        additive_error=0.0041,
        candidates=97,
        shared_prefixes=True,
    )
    return replace(report, **parts)


def searched_run(names: Sequence[str], report: SearchReport) -> Run:
    """The run that converts the result of a search."""
    point = report.finetuned or report.front[report.chosen]
    new = {change.layer: change.after for change in point.changes}
    old = {one.layer: one.before for one in report.singles}
    stages = stages_of(names)
    layers = tuple(
        replace(layer(name, str(new.get(name) or old.get(name) or FREE), order=i), stage=stages[i])
        for i, name in enumerate(names)
    )
    return Run(run(names, layers=layers).report, search=report)
