"""Measured numbers in README.md and docs/ are those of a table in benchmarks/results.

On the site they are ``{{ name }}``, from ``benchmarks/results/figures.json``; README, which is read
in the repository, has the values themselves.
"""

from __future__ import annotations

import re
import runpy

import pytest
from page_blocks import DOCS, PAGES, page_name

MEASURED = runpy.run_path(str(DOCS / "measured.py"))
FIGURES = MEASURED["figures"]()
UNIT = r"ms|us|s|seconds?|minutes?|hours?|KB|MB|GB|%|times|points?|nats"
NUMBER = re.compile(
    rf"(?<![\w.,/-])\d[\d.,]*(?:e-?\d+)?\s?(?:{UNIT})(?!\w)"  # with a unit
    r"|(?<![\w.])\d+(?:\.\d+)?e-?\d+"  # 1e-5
    r"|(?<![\w.])\d+\.\d+(?![\w.])"  # 1.10
)
# A number after the name of a program is its version.
VERSION = re.compile(
    r"\b(Python|torch|torchvision|PyTorch|ONNX Runtime|OpenCV|OpenVINO|MNN|Apache|BY|onnx2tf)"
    r"[ -][\d.]+"
)
DECISIONS = "docs/design.md"
"""What a decision rested on when it was made stays as it was."""
ALLOWED = {
    # Bounds of the checks, which the code has.
    "README.md": {"1e-6", "1e-11"},
    "docs/bench.md": {"10 %"},
    "docs/reading.md": {"1e-6", "64 MB", "128 MB", "8 MB", "2 GB"},
    "docs/reliability.md": {"10 seconds"},
    "docs/report.md": {"32 MB", "1e-3", "1e-11", "1e-5", "1e-6"},
    # Arguments, and what follows from them.
    "docs/costs.md": {"0.5", "0.05"},
    "docs/search.md": {"1.02", "2 %", "95 %", "0.6 points"},
    "docs/training.md": {"0.9", "0.1", "90 %", "1e-4", "0.8"},
    "docs/mathematics.md": {"0.8165", "1e-11"},
    # max(1e-5, 10 times the twin's); bfloat16 has eight bits.
    "docs/targets.md": {"1e-5", "10 times", "8e-3"},
}


def prose(text: str) -> str:
    """Without code, comments, link targets, formulas and versions."""
    for pattern in (r"^[ \t]*```.*?^[ \t]*```", r"<!--.*?-->", r"`[^`]*`", r"\$[^$]*\$"):
        text = re.sub(pattern, "#", text, flags=re.M | re.S)
    return VERSION.sub(r"\1", re.sub(r"\]\([^)]*\)", "]", text))


def numbers(text: str) -> set[str]:
    return {" ".join(found.split()) for found in NUMBER.findall(prose(text))}


def without_unit(number: str) -> str:
    return number.removesuffix(" times")


@pytest.mark.parametrize("page", [p for p in PAGES if page_name(p) != DECISIONS], ids=page_name)
def test_no_page_has_a_bare_measured_number(page):
    bare = numbers(page.read_text(encoding="utf-8")) - ALLOWED.get(page_name(page), set())
    if page_name(page) == "README.md":
        values = {figure["value"] for figure in FIGURES.values()}
        bare = {number for number in bare if without_unit(number) not in values}
    assert not bare, "write {{ name }}, with a row of benchmarks/results/figures.json"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stands_in_its_table(name):
    figure = FIGURES[name]
    number, _, unit = figure["value"].partition(" ")
    lines = (MEASURED["RESULTS"] / figure["table"]).read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if figure["row"] in line]
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    half = 0.5000001 * 10 ** (int(exponent or 0) - decimals)
    pattern = rf"\d+(?:\.\d+)?(?:e-?\d+)?(?= {unit})" if unit else r"\d+(?:\.\d+)?(?:e-?\d+)?"
    assert any(abs(float(found) - float(number)) <= half for found in re.findall(pattern, row)), row


def test_every_figure_is_used():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name, figure in FIGURES.items():
        assert f"{{{{ {name} }}}}" in text or figure["value"] in prose(text), name


def test_the_allowed_numbers_are_used():
    for name, allowed in ALLOWED.items():
        assert allowed <= numbers((DOCS.parent / name).read_text(encoding="utf-8")), name


@pytest.mark.parametrize("text", ["it takes 3.5 ms", "off by 2e-6", "1.3 times", "97 %", "4 GB"])
def test_a_measured_number_is_found(text):
    assert numbers(text)


@pytest.mark.parametrize(
    "text", ["`3 ms`", "Python 3.11 or newer", "{{ name }} times", "18 layers"]
)
def test_other_numbers_are_not(text):
    assert not numbers(text)
