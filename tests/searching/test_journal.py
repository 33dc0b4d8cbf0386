"""The journal of a search that is stopped more than once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssn_prune.accuracy.results import Accuracy, PairedDifference
from ssn_prune.errors import OutputError, SearchError
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.searching.evaluation import Harm
from ssn_prune.searching.joint import JointResult
from ssn_prune.searching.journal import Journal, file_of, require_journal

SETTING = {"version": "1", "search": [1, 2]}
FIRST = (("a", ALL_PAIRS[0]),)
SECOND = (("a", ALL_PAIRS[0]), ("b", ALL_PAIRS[8]))
RESULT = JointResult(
    0.25, 0.01, 1.5, Accuracy(top1=0.75), PairedDifference(-0.01, -0.03, 0.01, 0.95)
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, SETTING).load()
    journal.add_singles({FIRST: Harm(0.5, 0.1)})
    journal.add_joint({SECOND: RESULT})
    found = Journal(path, SETTING).load()
    assert found.singles == {FIRST: Harm(0.5, 0.1)}
    assert found.joint == {SECOND: RESULT}
    found.finish()
    assert not path.exists()


def test_a_line_that_was_cut_off_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path, SETTING).load().add_singles({FIRST: Harm(0.5, 0.1)})
    with path.open("a") as file:
        file.write('\n{"joint": [["a", "IN", "I')
    Journal(path, SETTING).load().add_joint({SECOND: RESULT})
    found = Journal(path, SETTING).load()
    assert found.singles == {FIRST: Harm(0.5, 0.1)}
    assert found.joint == {SECOND: RESULT}


@pytest.mark.parametrize(
    "line",
    [
        *("[]", "null", '{"joint": 3}', "[" * 9000),
        '{"single": [["a"]], "mean": 1, "error": 0}',
        '{"single": [["a", "IN", "XX"]], "mean": 1, "error": 0}',
        '{"single": [["a", "IN", "IN"]], "mean": NaN, "error": 0}',
    ],
)
def test_lines_that_mean_nothing_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "j"
    Journal(path, SETTING).load().add_singles({FIRST: Harm(0.5, 0.1)})
    with path.open("a") as file:
        file.write(f"\n{line}")
    assert Journal(path, SETTING).load().singles == {FIRST: Harm(0.5, 0.1)}


def test_a_journal_belongs_to_one_search(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path, SETTING).load().add_singles({FIRST: Harm(0.5, 0.1)})
    with pytest.raises(SearchError, match="another search"):
        Journal(path, {**SETTING, "search": [1]}).load()
    one, other = (file_of(tmp_path, {**SETTING, "search": [n]}) for n in (1, 2))
    assert one != other
    assert file_of(path, SETTING) == path


def test_a_journal_that_was_only_begun_is_new(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.touch()
    Journal(path, SETTING).load().add_singles({FIRST: Harm(0.5, 0.1)})
    assert Journal(path, SETTING).load().singles == {FIRST: Harm(0.5, 0.1)}


def test_a_place_for_a_journal_is_tried_before_the_work(tmp_path: Path) -> None:
    for usable in (None, tmp_path, tmp_path / "new"):
        require_journal(usable)
    assert not list(tmp_path.iterdir())
    Journal(tmp_path / "j", SETTING).load().add_singles({FIRST: Harm(0.5, 0.1)})
    require_journal(tmp_path / "j")
    with pytest.raises(OutputError, match="does not exist"):
        require_journal(tmp_path / "missing" / "j")
    for text in ("weights", '{"a": 1}', "[]"):
        (tmp_path / "other").write_text(text)
        with pytest.raises(SearchError, match="another file"):
            require_journal(tmp_path / "other")
