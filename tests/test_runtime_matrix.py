"""Which cells of the matrix of runtimes are right (``benchmarks/runtime_verdicts.py``)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[1] / "benchmarks" / "runtime_verdicts.py"


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("runtime_verdicts", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def outcome(verdicts: ModuleType, found: float | str) -> object:
    """What ran with an error, or why it did not run."""
    if isinstance(found, str):
        return verdicts.Outcome("refused", found)
    return verdicts.Outcome("ran", error=found)


@pytest.mark.parametrize(
    ("error", "twin", "verdict", "as_twin"),
    [
        (9e-6, 1e-9, "right", False),
        (2e-5, 1e-7, "wrong", False),
        (2e-5, 3e-6, "right", False),  # the twin is as inexact there
        (4e-5, 3e-6, "wrong", False),
        (0.2, 0.1, "wrong", True),  # a twin that is wrong excuses, and sets no bound
        (9e-6, 0.1, "right", False),
        (2e-5, 0.1, "wrong", True),
        (float("inf"), 1e-7, "wrong", False),
        ("no operator X", 1e-7, "refused", False),
        ("no operator X", "no operator Y", "refused", False),
        ("node #7 'a/b' [1, 2]: no X", "node #12 'c' [3]: no X", "refused", True),
        (0.2, "no operator X", "wrong", False),
        ("no operator X", 0.2, "refused", False),
    ],
)
def test_a_cell_is_judged_by_its_twin(
    verdicts: ModuleType, error: float | str, twin: float | str, verdict: str, as_twin: bool
) -> None:
    here = {"a": outcome(verdicts, error), verdicts.TWIN: outcome(verdicts, twin)}
    reference = {name: outcome(verdicts, 3e-7) for name in here}
    cell = verdicts.judge("net", "open", "a", "runtime", here, reference)
    assert (cell.verdict, cell.as_twin) == (verdict, as_twin)
    assert cell.onnxruntime_error == 3e-7
    complaints = verdicts.complaints([cell], expected=1, backends={})
    assert len(complaints) == (verdict != "right") + (verdict != "right" and not as_twin)


def test_cells_that_are_missing_are_complained_about_and_twins_do_not_count(
    verdicts: ModuleType,
) -> None:
    here = {"a": outcome(verdicts, 1e-7), verdicts.TWIN: outcome(verdicts, 1e-7)}
    cells = [verdicts.judge("net", "open", name, "runtime", here, here) for name in here]
    assert verdicts.complaints(cells, expected=1, backends={}) == []
    assert verdicts.complaints(cells, expected=2, backends={}) == [
        "1 cells are right, 2 are expected"
    ]


@pytest.mark.parametrize(
    ("portable", "own", "allowed"),
    [("no X", 1e-7, True), (0.2, 1e-7, False), ("no X", 0.2, False), ("no X", "no X", False)],
)
def test_a_refused_file_is_excused_where_the_one_for_that_runtime_is_right(
    verdicts: ModuleType, portable: float | str, own: float | str, allowed: bool
) -> None:
    here = {"portable": outcome(verdicts, portable), "a": outcome(verdicts, own)}
    here[verdicts.TWIN] = outcome(verdicts, 1e-7)
    cells = [verdicts.judge("net", "fixed", name, "a1", here, here) for name in here]
    lines = verdicts.complaints(cells, expected=0, backends={"a1": "a"})
    assert [line for line in lines if "portable" in line] == [] if allowed else lines
    elsewhere = verdicts.complaints(cells, expected=0, backends={"a1": "b"})
    assert any("portable" in line for line in elsewhere)
