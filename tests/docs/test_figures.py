"""The figures of the pages are what their script draws."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
FIGURES = runpy.run_path(str(DOCS / "make_figures.py"))["FIGURES"]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_by_its_script(name):
    drawn = FIGURES[name]()
    assert (DOCS / "figures" / name).read_text(encoding="utf-8") == drawn
    assert ElementTree.fromstring(drawn).find("{*}title").text


def test_every_figure_is_shown():
    page = (DOCS / "mathematics.md").read_text(encoding="utf-8")
    found = {path.name for path in (DOCS / "figures").iterdir()}
    assert found == set(FIGURES)
    assert all(f"figures/{name}" in page for name in FIGURES)
