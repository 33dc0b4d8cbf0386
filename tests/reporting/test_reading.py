"""Files with a run: JSON, pages, and everything else."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from report_runs import HOSTILE, RESNET18, bench, run

from ssn_prune.errors import ReportError
from ssn_prune.reporting import reading
from ssn_prune.reporting.formats.comparison import compared_html
from ssn_prune.reporting.formats.html import html
from ssn_prune.reporting.formats.json import json as as_json
from ssn_prune.reporting.reading import read_run
from ssn_prune.reporting.run import Run


def test_json_and_page_give_the_same_run(tmp_path: Path) -> None:
    first = Run(run([*RESNET18, HOSTILE]).report, bench())
    for name, text in {"r.json": as_json(first), "page.html": html(first)}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_run(tmp_path / name) == first


UNREADABLE = {
    "nothing": (b"", "not JSON"),
    "half": (b'{"schema_version": 3, "layers": [', "not JSON"),
    "binary": (bytes(range(256)), "cannot be read"),
    "another page": (b"<!doctype html><p>hello</p>", "not a page of ssn_prune"),
    "a comparison": (compared_html(run(), run()).encode(), "compares two runs"),
    "a broken page": (b'<script type="application/json" id="run">{</script>', "not JSON"),
    "deep": (b"[" * 200_000, "not JSON"),
    "deep objects": (b'{"a":' * 100_000, "not JSON"),
    "no number": (b'{"schema_version": NaN}', "not JSON"),
    "infinite": (b'{"schema_version": -Infinity}', "not JSON"),
    "a long number": (b'{"schema_version": 1' + b"0" * 100_000 + b"}", "not JSON"),
    "a list": (b"[1, 2]", "not the report"),
    "an error": (b'{"error": {"code": "failure"}, "exit_code": 1}', "not the report"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_report_is_refused(tmp_path: Path, name: str) -> None:
    content, words = UNREADABLE[name]
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(ReportError, match=words) as caught:
        read_run(tmp_path / "r")
    assert None not in (caught.value.expected, caught.value.found, caught.value.hint)
    assert len(str(caught.value)) < 700


def test_a_missing_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("none.json", ".", "pipe"):
        with pytest.raises(ReportError, match="cannot be read"):
            read_run(tmp_path / name)


def test_reading_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_FILE", 2**20)
    with (tmp_path / "r.json").open("wb") as file:
        file.truncate(2**34)  # a hole
    tracemalloc.start()
    with pytest.raises(ReportError, match="cannot be read"):
        read_run(tmp_path / "r.json")
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    text = json.dumps(run().document())
    (tmp_path / "r.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_run(tmp_path / "r.json") == run()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("layers", 0, "mean", "choice"), "XX", "gates of 'sn1'"),
        (("layers", 0, "var", "ratios"), {"GN": 1.0}, "gates of 'sn1'"),
        (("onnx", "nodes"), -5, "onnx.nodes"),
        (("verification", "rounding", "max_error"), -1e-9, "rounding.max_error"),
    ],
)
def test_numbers_that_no_run_has_are_refused(tmp_path: Path, path, value, words) -> None:
    document = run().document()
    inside = document
    for part in path[:-1]:
        inside = inside[part]
    inside[path[-1]] = value
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(ReportError, match=words):
        read_run(tmp_path / "r.json")
