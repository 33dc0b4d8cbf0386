"""Files of each format: the same bytes, small, and safe with any name."""

from __future__ import annotations

import base64
import csv as rows
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_runs import HOSTILE, HUGE, MOBILENET, RESNET18, bench, history, rounded, run
from search_samples import searched, searched_run

from ssn_prune.errors import ArgumentError
from ssn_prune.reporting.formats.csv import csv
from ssn_prune.reporting.formats.html import html
from ssn_prune.reporting.formats.markdown import markdown
from ssn_prune.reporting.formats.svg import svg
from ssn_prune.reporting.formats.table import FORMATS, format_for
from ssn_prune.reporting.run import Run, run_of

FULL = Run(run().report, bench(), history())
RUNS = {
    "full": FULL,
    "soft": run(MOBILENET, soft=(3, 9)),
    "failed": run(first_off=7),
    "rounded": run(rounded=rounded()),
    "selection only": run(onnx=None, verification=None, before=None, after=None, steps=()),
    "one layer": run(["sn1"]),
    "none": run(layers=(), verification=None),
    "searched": searched_run(RESNET18, searched(RESNET18, soft=(2,))),
    "searched without labels": searched_run(["a", "b"], searched(["a", "b"], labels=False)),
    "empty": run(command=(), options={}, environment=None, steps=()),
}


class Page(HTMLParser):
    """Elements, attributes and texts of a page; every element that is opened must be closed."""

    VOID = ("meta", "img", "br", "input", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.suffix)
def test_every_format_writes_every_run_and_the_same_bytes(name: str, entry) -> None:
    text = entry.write(RUNS[name])
    assert text == entry.write(run_of(json.loads(json.dumps(RUNS[name].document()))))
    assert text.endswith("\n")
    assert not re.search(r"\bNone\b|\bnan\b|Markup", text)


@pytest.mark.parametrize("name", RUNS)
def test_a_page_is_well_formed_and_has_no_empty_section(name: str) -> None:
    page = Page(html(RUNS[name]))
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    links = {value[1:] for key, value in page.attributes if key == "href" and value}
    assert links <= set(ids)
    assert page.tags.count("section") == page.tags.count("h2")
    assert not re.search(r"<section[^>]*>\s*<h2>[^<]*</h2>\s*</section>", html(RUNS[name]))


STRANGE = [HOSTILE, "--><svg onload=x>", "a'b\"c&amp;`${x}", "\u202e\x00"]


@pytest.mark.parametrize("hostile", STRANGE)
def test_a_name_is_text_wherever_it_stands(hostile: str) -> None:
    found = Run(run([*RESNET18, hostile], command=("ssn-prune", hostile)).report, bench(), None)
    text = html(found)
    page, plain = Page(text), Page(html(Run(run([*RESNET18, "x"]).report, bench(), None)))
    assert page.tags == plain.tags
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    document = re.search(r'id="run">(.*?)</script>', text, re.DOTALL)[1]
    assert "<" not in document
    assert run_of(json.loads(document)) == found


def test_the_policy_allows_the_pages_own_script_only() -> None:
    text = html(FULL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:"
    )
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_a_page_of_300_layers_is_small() -> None:
    assert len(HUGE) == 310
    assert len(html(Run(run(HUGE).report, bench(), None)).encode()) < 400_000
    assert len(html(Run(run(HUGE).report, bench(), history(HUGE))).encode()) < 1_000_000
    assert len(html(Run(run(HUGE).report, bench(), history(HUGE))).encode()) < 1_500_000
    assert len(html(FULL).encode()) < 120_000


def test_the_layers_as_rows() -> None:
    first, *found = rows.reader(io.StringIO(csv(FULL)))
    assert first[:5] == ["number", "layer", "stage", "mean", "variance"]
    assert [row[1] for row in found] == RESNET18
    assert {len(row) for row in found} == {len(first)}


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_cell_is_a_formula(formula: str) -> None:
    table = list(rows.reader(io.StringIO(csv(run(["a", formula])))))
    assert table[2][1] == f"'{formula}"


def test_the_card_has_front_matter_that_is_data() -> None:
    text = markdown(run([*RESNET18, "a|b\n---\n# x"]))
    _, front, body = text.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert json.loads(fields["verified"]) is True
    assert json.loads(fields["sha256"]) == "cd" * 32
    assert r"a\|b" in body
    assert not re.search(r"^# x", body, re.MULTILINE)
    widths = [line.count(" | ") for line in body.splitlines() if line.startswith("| ")]
    assert set(widths) <= {1, 2, 3, 4}


@pytest.mark.parametrize("name", RUNS)
def test_the_strip_is_a_picture(name: str) -> None:
    root = ElementTree.fromstring(svg(RUNS[name]))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    cells = list(root.iter("{http://www.w3.org/2000/svg}use"))
    assert len(cells) == 2 * len(RUNS[name].report.layers)


@pytest.mark.parametrize("hostile", [*STRANGE, "\ud800", "\x1b[31m"])
def test_the_picture_takes_any_name(hostile: str) -> None:
    ElementTree.fromstring(svg(run(["a.0", "a.1", "b.0", hostile])))


def test_a_suffix_chooses_the_format_and_another_one_is_refused() -> None:
    assert format_for(Path("a.HTML")).suffix == ".html"
    for name in ("a.txt", "a", ".html"):
        with pytest.raises(ArgumentError, match="no format") as caught:
            format_for(Path(name))
        assert ".html (a page)" in str(caught.value.expected)
    with pytest.raises(ArgumentError, match="a comparison of two runs has no format"):
        format_for(Path("a.svg"), comparison=True)
