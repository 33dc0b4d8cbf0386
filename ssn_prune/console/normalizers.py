"""The three normalizers on a terminal: the same letter and colour everywhere."""

from __future__ import annotations

COLOURS = {"IN": "dodger_blue1", "LN": "orange3", "BN": "green4"}
"""The colours of the HTML page, among the 256 of a terminal. With ``NO_COLOR`` rich drops them, and
only the letters remain."""


def painted(name: str, text: str | None = None, style: str = "") -> str:
    """A normalizer's name, or another text, in its colour.

    Args:
        name: ``"IN"``, ``"LN"`` or ``"BN"``.
        text: What to print; the name if None.
        style: Further words of a rich style.
    """
    return f"[{f'{style} {COLOURS[name]}'.strip()}]{text or name}[/]"
