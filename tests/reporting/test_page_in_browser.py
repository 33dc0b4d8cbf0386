"""The page in a browser: nothing is loaded, nothing fails, and it can be used.

Debian's Chromium renders it; ``.ci/run`` installs that where it is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab
from report_runs import HOSTILE, HUGE, MOBILENET, RESNET18, accuracy, bench, history, run
from search_samples import searched, searched_run

from ssn_prune.reporting.formats.comparison import compared_html
from ssn_prune.reporting.formats.html import html
from ssn_prune.reporting.run import Run

RESNET = Run(run([*RESNET18, HOSTILE]).report, bench(), history())
PAGES = {
    "resnet18": html(RESNET),
    "mobilenet": html(replace(run(MOBILENET, soft=(4, 13, 22, 31)), accuracy=accuracy())),
    "failed": html(run(first_off=7)),
    "310 layers": html(run(HUGE)),
    "searched": html(
        searched_run([*RESNET18, HOSTILE], searched([*RESNET18, HOSTILE], soft=(3,), chosen=9))
    ),
    "two runs": compared_html(run(), run(RESNET18[:-1], soft=(3,))),
}
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PAPER = "getComputedStyle(document.body).backgroundColor"
# Texts whose contrast to what is behind them is less than WCAG's 4.5 (AA).
FAINT = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const faint = [], alike = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || element.closest("script, use, defs, .dim") || !element.checkVisibility()) continue;
    const kind = `${element.parentElement.className} ${element.tagName} ${element.className}`;
    if (alike.has(kind)) continue; // one of hundreds of cells
    alike.add(kind);
    const style = getComputedStyle(element);
    const svg = element.namespaceURI.endsWith("svg");
    if (element.tagName === "title") continue;
    const pair = [light(parse(svg ? style.fill : style.color)), light(behind(element))].sort();
    const [dark, bright] = pair[0] < pair[1] ? pair : pair.reverse();
    if ((bright + 0.05) / (dark + 0.05) < 4.5) faint.push(element.textContent.slice(0, 40));
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next(filter(None, found), None)
    assert path, "these tests need Chromium: apt-get install chromium fonts-dejavu-core"
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    paths = {name: folder / f"{index}.html" for index, name in enumerate(PAGES)}
    for name, path in paths.items():
        path.write_text(PAGES[name], encoding="utf-8")
    return paths


@contextmanager
def opened(browser: Browser, path: Path, **how: Any) -> Iterator[Tab]:
    """A tab with a page, which must ask for nothing and complain about nothing."""
    seen: list[str] = []
    context = browser.new_context(**{"viewport": DESK, **how})
    tab = context.new_page()
    tab.on("console", lambda message: seen.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.on("dialog", lambda dialog: (seen.append("dialog"), dialog.dismiss()))
    tab.on("request", lambda request: seen.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    assert seen == [path.as_uri()]
    context.close()


def rows(tab: Tab) -> list[str]:
    """Names of the layers that the table shows."""
    shown = "rows => rows.filter(r => r.checkVisibility()).map(r => r.cells[1].textContent)"
    return tab.locator(".layers tbody tr").evaluate_all(shown)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_can_be_read(browser, files, name, size) -> None:
    with opened(browser, files[name], viewport=size) as tab:
        for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 22, 22)")):
            tab.emulate_media(color_scheme=scheme)
            assert tab.evaluate(PAPER) == paper
            assert tab.evaluate(FAINT) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]
        first = tab.locator(".strip").first.bounding_box()
        assert first["y"] > tab.locator(".verdict").bounding_box()["y"]
        if name in ("resnet18", "mobilenet", "failed"):
            assert first["y"] + first["height"] < size["height"]


def test_a_faint_text_would_be_found(browser, files) -> None:
    with opened(browser, files["failed"]) as tab:
        tab.evaluate("document.querySelector('.detail').style.color = '#8a8a8a'")
        assert len(tab.evaluate(FAINT)) == 1


@pytest.mark.parametrize("name", PAGES)
def test_a_printed_page_is_white_and_has_every_row(browser, files, name) -> None:
    with opened(browser, files[name], color_scheme="dark") as tab:
        tab.emulate_media(media="print", color_scheme="dark")
        assert tab.evaluate(PAPER) == "rgb(255, 255, 255)"
        assert tab.evaluate(FAINT) == []
        assert tab.locator(".filter").is_hidden()
        assert len(rows(tab)) == tab.locator(".layers tbody tr").count()


def test_without_javascript_everything_can_be_read(browser, files) -> None:
    with opened(browser, files["resnet18"], java_script_enabled=False) as tab:
        assert tab.locator(".layers tbody tr").count() == 21
        assert tab.locator("button").count() == 0
        assert tab.get_by_text("Same answers").is_visible()
        tab.get_by_text("ONNX operators in the file").click()
        assert tab.get_by_role("cell", name="Conv", exact=True).is_visible()


def test_the_filter_finds_names_pairs_and_reasons(browser, files) -> None:
    with opened(browser, files["resnet18"]) as tab:
        field = tab.get_by_label("Filter")
        field.fill("layer3")
        assert rows(tab) == [name for name in RESNET18 if name.startswith("layer3")]
        assert tab.get_by_role("status").inner_text() == "5 of 21 layers"
        assert tab.locator(".strip a.dim").count() == 16
        field.fill("bn/bn")
        assert rows(tab) == [x.name for x in RESNET.report.layers if pair(x) == "BN/BN"]
        field.fill("no such layer")
        assert rows(tab) == []
        tab.get_by_role("button", name="Show all").click()
        assert len(rows(tab)) == 21
        assert tab.locator(".strip a.dim").count() == 0


def pair(layer: Any) -> str:
    return f"{layer.mean.choice}/{layer.var.choice}"


def test_a_cell_of_the_matrix_filters_with_the_keyboard_alone(browser, files) -> None:
    with opened(browser, files["mobilenet"]) as tab:
        report = run(MOBILENET, soft=(4, 13, 22, 31)).report
        button = tab.locator(".matrix button").first
        chosen = button.get_attribute("data-pair")
        expected = [x.name for x in report.layers if pair(x) == chosen]
        assert button.inner_text() == str(len(expected))
        button.focus()
        tab.keyboard.press("Enter")
        assert rows(tab) == expected
        assert button.get_attribute("aria-pressed") == "true"
        tab.keyboard.press("Enter")
        assert len(rows(tab)) == len(MOBILENET)


def test_columns_sort_up_and_down_and_what_is_missing_stays_last(browser, files) -> None:
    with opened(browser, files["resnet18"]) as tab:
        order = rows(tab)
        head = tab.locator(".layers th", has_text="time")
        button = head.get_by_role("button")
        button.focus()
        for key, sort in (("Enter", "ascending"), ("Space", "descending")):
            tab.keyboard.press(key)
            assert head.get_attribute("aria-sort") == sort
            cells = tab.locator(".layers td.t").all_inner_texts()
            times = [float(text.split()[0]) for text in cells if text.strip()]
            assert times == sorted(times, reverse=sort == "descending")
            assert all(cells[: len(times)])
        tab.get_by_role("columnheader", name="#").get_by_role("button").click()
        assert rows(tab) == order


def test_a_column_of_the_strip_leads_to_its_row(browser, files) -> None:
    with opened(browser, files["310 layers"]) as tab:
        tab.get_by_label("Filter").fill("stage1")
        tab.locator('.strip a[href="#layer-200"]').focus()
        tab.keyboard.press("Enter")
        row = tab.locator("#layer-200")
        assert row.is_visible()
        assert 0 <= row.bounding_box()["y"] < DESK["height"]
        assert HUGE[199] in row.inner_text()


def test_the_command_can_be_copied(browser, files) -> None:
    with opened(browser, files["failed"]) as tab:
        tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab.get_by_role("button", name="Copy").first.click()
        tab.get_by_role("button", name="Copied").wait_for()
        copied = tab.evaluate("navigator.clipboard.readText()")
        assert copied == "ssn-prune convert model.pth --arch net --report page.html"


def test_a_search_can_be_read_without_javascript_and_its_names_are_text(browser, files) -> None:
    with opened(browser, files["searched"], java_script_enabled=False, viewport=PHONE) as tab:
        found = tab.locator("#search")
        for kind in ("original", "chosen", "all-bn"):
            assert found.locator(f"circle.{kind}").first.is_visible()
        assert found.locator(".strip").count() == 2
        assert (
            found.locator(".strip g:not(.dim) > title").count()
            == 2 * found.locator(".changes tbody tr").count()
        )
        found.get_by_text("more", exact=False).last.click()
        assert found.locator(".changes tbody tr").last.is_visible()
        assert tab.locator("img").count() == 0


def test_marks_of_a_front_stay_inside_and_its_labels_apart(browser, files) -> None:
    for size in (DESK, PHONE):
        with opened(browser, files["searched"], viewport=size) as tab:
            boxes = tab.locator(
                ".plot.front .mark, .plot.front .free, .plot.front .side"
            ).evaluate_all(
                "all => all.filter(t => t.tagName === 'text').map(t => t.getBoundingClientRect())"
                ".map(b => [b.left, b.top, b.right, b.bottom])"
            )
            assert len(boxes) > 8
            for index, one in enumerate(boxes):
                assert 0 <= one[0] < one[2] <= size["width"]
                for other in boxes[index + 1 :]:
                    apart_x = one[2] <= other[0] or other[2] <= one[0]
                    assert apart_x or one[3] <= other[1] + 4 or other[3] <= one[1] + 4


def test_a_hostile_name_is_text(browser, files) -> None:
    with opened(browser, files["resnet18"]) as tab:
        assert tab.locator("img").count() == 0
        assert tab.locator(".layers td", has_text=HOSTILE).first.is_visible()
        document = tab.evaluate("JSON.parse(document.getElementById('run').textContent)")
        assert document["layers"][-1]["name"] == HOSTILE


def test_images_that_differ_are_pictures_of_the_page_itself(browser, files) -> None:
    with opened(browser, files["mobilenet"]) as tab:
        pictures = tab.locator(".tiles img")
        assert pictures.count() == 30
        widths = pictures.evaluate_all("images => images.map(image => image.naturalWidth)")
        assert set(widths) == {8}
        assert tab.locator(".tiles li", has_text=HOSTILE).first.is_visible()
        assert not pictures.last.is_visible()
        tab.get_by_text("6 more", exact=True).click()
        assert pictures.last.is_visible()


def test_a_trajectory_opens_the_path_of_its_gate(browser, files) -> None:
    with opened(browser, files["resnet18"]) as tab:
        assert tab.locator(".simplex").count() == 0
        trace = RESNET.history[4]
        button = tab.get_by_role("button", name=f"{trace.gate} gate of {trace.layer}: its path")
        button.focus()
        tab.keyboard.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        said = tab.locator(".simplex output")
        slider = tab.locator(".simplex input")
        radii = []
        for part in (1, 10, len(trace.line)):
            slider.fill(str(part))
            radii.append(float(tab.locator(".simplex .circle").get_attribute("r")))
            first, second = (int(trace.ratios[4 * part - 4 + i :][:2]) / 99 for i in (0, 2))
            shares = (first, second, 1 - first - second)
            texts = [f"{n} {round(100 * s)} %" for n, s in zip(("IN", "LN", "BN"), shares)]  # noqa: B905
            assert said.inner_text() == f"{part} of {len(trace.line)}: {', '.join(texts)}"
        assert radii == sorted(radii)
        slider.focus()
        tab.keyboard.press("ArrowLeft")
        assert said.inner_text().startswith(f"{len(trace.line) - 1} of")
        tab.locator(".trail .line").nth(4).click()
        assert tab.locator(".simplex").count() == 0
