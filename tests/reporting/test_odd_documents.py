"""Documents with odd values: an error of ours, or a report in every format, never anything else."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from report_runs import HOSTILE, bench, history, run
from search_samples import searched

from ssn_prune.errors import ReportError
from ssn_prune.reporting.formats.table import FORMATS
from ssn_prune.reporting.run import Run, run_of

NAMES = ["stem", "a.0", "a.1", HOSTILE]
ODD: list[Any] = [None, 0, -1, 1e299, -1e-320, "", HOSTILE, "IN", [], {}, True, 2**62, "\ud800\x00"]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document, of containers, too."""
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    return [path, *(place for key, item in pairs for place in places(item, (*path, key)))][
        0 if path else 1 :
    ]


SEARCH = searched(NAMES, points=4, others=2, soft=(1,))
FOUND = Run(run(NAMES, soft=(1,)).report, bench(), history(NAMES), search=SEARCH)
DOCUMENT = json.loads(json.dumps(FOUND.document()))
PLACES = places(DOCUMENT)


def written(document: Any) -> bool:
    """Whether a document is a run; all formats are written then, beside another run."""
    try:
        found = run_of(document)
    except ReportError:
        return False
    for entry in FORMATS:
        entry.write(found).encode("utf-8", "backslashreplace")
        if entry.compare is not None:
            entry.compare(run(NAMES), found)
    return True


def test_the_document_itself_is_written() -> None:
    assert written(DOCUMENT)


@pytest.mark.parametrize("seed", range(4))
def test_one_odd_value_at_a_time(seed: int) -> None:
    chosen = random.Random(seed)
    outcomes = set()
    for _ in range(60):
        changed = copy.deepcopy(DOCUMENT)
        *path, last = chosen.choice(PLACES)
        inside: Any = changed
        for part in path:
            inside = inside[part]
        inside[last] = chosen.choice(ODD)
        outcomes.add(written(changed))
    assert outcomes == {True, False}


@pytest.mark.parametrize("value", [None, 0.0, 1e299, -1.0])
def test_every_number_at_once(value: float | None) -> None:
    def changed(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: changed(item) for key, item in part.items()}
        if isinstance(part, list):
            return [changed(item) for item in part]
        return value if isinstance(part, float) else part

    assert written(changed(DOCUMENT)) == (value is None or value >= 0)
