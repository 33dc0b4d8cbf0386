"""The HTML page that compares two runs."""

from __future__ import annotations

from ssn_prune.reporting.charts.strip import strip
from ssn_prune.reporting.rendering import rendered
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.choice import choice_of
from ssn_prune.reporting.view.comparison import comparison_of
from ssn_prune.reporting.view.layers import layers_of
from ssn_prune.reporting.view.verdict import verdict_of


def compared_html(old: Run, new: Run) -> str:
    """The page that compares two runs, the old one first."""
    found = comparison_of(old, new)
    different = {change.name for change in found.changes}
    sides = []
    for word, run in (("old", old), ("new", new)):
        layers = layers_of(run)
        choice = choice_of(layers)
        drawn = strip(choice.stages, different)
        sides.append((word, verdict_of(run, layers), drawn, len(layers) > 40))
    return rendered(
        "compare.html.j2",
        {"old": old.document(defaults=False), "new": new.document(defaults=False)},
        comparison=found,
        sides=sides,
    )
