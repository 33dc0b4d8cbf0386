"""Make the pictures of a report page: ``python docs/make_pictures.py``; it needs Chromium.

The run is a real one, of the trained reference ResNet-18:
``ssn-prune convert model.pth -o model.onnx --bench --report docs/pictures/resnet18.json``.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from ssn_prune.reporting.formats.html import html
from ssn_prune.reporting.reading import read_run

FOLDER = Path(__file__).parent / "pictures"
RUN = FOLDER / "resnet18.json"
WINDOW = {"width": 1120, "height": 540}


def main() -> None:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "page.html"
        page.write_text(html(read_run(RUN)), encoding="utf-8")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        picture(browser, page, "verdict.png", "header")
        picture(browser, page, "trust.png", "#trust")
        browser.close()


def picture(browser: Browser, page: Path, name: str, top: str) -> None:
    """Save a screenshot with an element at the top of the window."""
    context = browser.new_context(viewport=WINDOW)
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.locator(top).evaluate("element => scrollTo(0, element.offsetTop - 16)")
    tab.screenshot(path=FOLDER / name)
    context.close()


if __name__ == "__main__":
    main()
