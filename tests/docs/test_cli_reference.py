"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import runpy

from page_blocks import DOCS


def test_the_page_is_up_to_date():
    made = runpy.run_path(str(DOCS / "make_cli.py"))
    text = made["PAGE"].read_text(encoding="utf-8")
    assert text == made["page"](), "run python docs/make_cli.py"
