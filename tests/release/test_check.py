"""The release check: what it remembers, what it runs again, and what its table says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

RELEASE = Path(__file__).parents[2] / "release"
GOOD = ("-c", "print('starting'); print('12 graphs passed')")
BAD = ("-c", "import sys; print('seed 7: wrong'); sys.exit(3)")


@pytest.fixture
def check(monkeypatch):
    monkeypatch.syspath_prepend(str(RELEASE))
    import check

    monkeypatch.setattr(check, "digest", lambda: "these")
    return check


@pytest.fixture
def run(check, monkeypatch, tmp_path, capsys):
    def run(pieces, *options):
        given = [check.Piece(name, command) for name, command in pieces.items()]
        monkeypatch.setattr(check, "PIECES", given)
        monkeypatch.setattr(sys, "argv", ["check.py", str(tmp_path), *options])
        code = check.main()
        said = capsys.readouterr()
        started = [line.removesuffix(" ...") for line in said.err.splitlines()]
        rows = [line.split(" | ") for line in said.out.splitlines()[2:]]
        return code, started, {row[0].removeprefix("| "): row[1] for row in rows}, said.out

    return run


def test_what_passed_is_not_run_again(run):
    code, started, rows, text = run({"a": GOOD, "b": BAD})
    assert (code, started) == (1, ["a", "b"])
    assert rows == {"a": "passed", "b": "**failed**"}
    assert "12 graphs passed |" in text
    assert "seed 7: wrong |" in text
    code, started, rows, _ = run({"a": GOOD, "b": GOOD})
    assert (code, started) == (0, ["b"])
    assert rows == {"a": "passed", "b": "passed"}
    assert run({"a": GOOD, "b": GOOD}, "--again")[1] == ["a", "b"]


def test_a_part_of_the_pieces(run):
    pieces = {"random graphs": GOOD, "every architecture": GOOD}
    assert run(pieces, "--list")[:2] == (2, [])
    code, started, rows, _ = run(pieces, "--only", "graphs")
    assert (code, started) == (2, ["random graphs"])
    assert rows["every architecture"] == "to be run"


def test_other_sources_are_checked_anew(run, check, monkeypatch):
    run({"a": GOOD})
    monkeypatch.setattr(check, "digest", lambda: "others")
    assert run({"a": GOOD})[1] == ["a"]


def test_a_record_that_was_cut_off_is_passed_over(run, tmp_path):
    run({"a": GOOD, "b": GOOD})
    record = tmp_path / "outcomes.jsonl"
    record.write_text(record.read_text()[:-30])
    assert run({"a": GOOD, "b": GOOD})[1] == ["b"]


def test_every_piece_is_there_and_has_a_name_of_its_own(check):
    assert len({piece.name for piece in check.PIECES}) == len(check.PIECES)
    for piece in check.PIECES:
        assert piece.command[0] == "-m" or (check.ROOT / piece.command[0]).is_file()
    names = " ".join(piece.name for piece in check.PIECES)
    for part in ("95,000", "oldest", "newest", "torchvision", "timm", "planted", "wheel"):
        assert part in names


def test_the_digest_follows_the_files(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(RELEASE))
    import check

    whole = check.digest()
    assert whole == check.digest()
    monkeypatch.setattr(check, "SOURCES", check.SOURCES[1:])
    assert check.digest() != whole


def test_the_oldest_dependencies_are_those_of_the_package(monkeypatch):
    monkeypatch.syspath_prepend(str(RELEASE))
    from environments import _floor, floors

    assert "torch==2.12.*" in floors()
    assert "onnxruntime==1.23.2" in floors()
    with pytest.raises(ValueError, match=r"NAME>=VERSION.*torch~=2"):
        _floor("torch~=2")
