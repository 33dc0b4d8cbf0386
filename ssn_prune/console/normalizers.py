"""The three normalizers on a terminal: one letter and one colour each, everywhere."""

from __future__ import annotations

COLOURS = {"IN": "dodger_blue1", "LN": "orange3", "BN": "green4"}
"""Those of the page, as the 256 colours of terminals have them. rich leaves them out with
``NO_COLOR``, and the letters stay."""


def painted(name: str, text: str | None = None, style: str = "") -> str:
    """A normalizer's name, or another text, in its colour.

    Args:
        name: ``"IN"``, ``"LN"`` or ``"BN"``.
        text: What to print; its name if None.
        style: More of rich's style.
    """
    return f"[{f'{style} {COLOURS[name]}'.strip()}]{text or name}[/]"
