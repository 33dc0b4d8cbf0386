"""JSON: the document itself."""

from __future__ import annotations

import json as encoding
from typing import Any

from ssn_prune.json_values import to_json
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.comparison import comparison_of


def json(run: Run) -> str:
    """The document of a run, with one field per line."""
    return written(run.document())


def compared_json(old: Run, new: Run) -> str:
    """The differences between two runs."""
    return written(to_json(comparison_of(old, new)))


def written(document: dict[str, Any]) -> str:
    """JSON text in the layout of this package."""
    return encoding.dumps(document, indent=2, allow_nan=False) + "\n"
