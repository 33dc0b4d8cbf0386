"""The code in the documentation, for the tests that run it."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def code_blocks(page: str, heading: str) -> list[str]:
    """The Python blocks of one section, in order.

    Args:
        page: A file in ``docs``.
        heading: Its text without the marks; the section ends at the next heading of its level.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, f"{page} has no section {heading!r}"
    return re.findall(r"^```python\n(.*?)^```", section[1], re.M | re.S)
