"""The page of examples/browser in Chromium: onnxruntime-web compared with ONNX Runtime.

    npm install --prefix web onnxruntime-web@1.30.0
    python benchmarks/browser.py web

The page, the demo's file and the runtime are served over local HTTP and run on one thread. Every
logit must agree with ONNX Runtime's within 1e-5 of the largest one, and a digit that is drawn with
the mouse must be classified.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
from playwright.sync_api import sync_playwright

from ssn_prune.demo.digits import load_digits

PAGE = Path(__file__).parents[1] / "examples" / "browser" / "index.html"
IMAGES = 20
ALLOWED = 1e-5


class Quiet(SimpleHTTPRequestHandler):
    """Serves files of a folder, without printing a line for each."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder over HTTP on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def in_browser(address: str, images: np.ndarray) -> tuple[np.ndarray, str]:
    """The logits of images, and the page's answer to a vertical stroke."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        tab = browser.new_page()
        seen: list[str] = []
        tab.on("pageerror", lambda error: seen.append(str(error)))
        tab.goto(address)
        tab.get_by_text("ready").wait_for()
        logits = [tab.evaluate("x => window.classify(x)", x.ravel().tolist()) for x in images]
        box = tab.locator("canvas").bounding_box()
        assert box is not None
        tab.mouse.move(box["x"] + 128, box["y"] + 40)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 128, box["y"] + 216, steps=12)
        tab.mouse.up()
        tab.get_by_text("This is").wait_for()
        answer = tab.locator("output").inner_text()
        browser.close()
    if seen:
        raise SystemExit("\n".join(seen))
    return np.array(logits, np.float32), answer


def main() -> None:
    """Compare, print, and fail where they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("web", type=Path, help="folder of `npm install --prefix`")
    web = parser.parse_args().web
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "ssn_prune", "demo", "--epochs", "1", "-q"]
        subprocess.run([*command, "-o", str(folder)], check=True)
        (folder / "digits.onnx").rename(folder / "model.onnx")
        shutil.copy(PAGE, folder)
        (folder / "node_modules").symlink_to((web / "node_modules").resolve())
        images = load_digits().test_images[:IMAGES].numpy()
        session = onnxruntime.InferenceSession(
            folder / "model.onnx", providers=["CPUExecutionProvider"]
        )
        expected = session.run(None, {session.get_inputs()[0].name: images})[0]
        with served(folder) as address:
            found, answer = in_browser(address, images)
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    print(f"{IMAGES} images in onnxruntime-web: off by {error:.1e} (allowed {ALLOWED:g}); {answer}")
    if not error <= ALLOWED:
        sys.exit("the answers differ")


if __name__ == "__main__":
    main()
