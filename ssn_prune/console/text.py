"""Make text safe to print with rich."""

from __future__ import annotations

import re

import rich.markup

from ssn_prune.text import printable


def escape(text: object) -> str:
    """Escape text for a terminal and for rich.

    Args:
        text: Any name or message.

    Returns:
        The text in printable characters, with its markup escaped.
    """
    return rich.markup.escape(printable(str(text)))


def path_in_lines(path: str, width: int) -> str:
    """A path, escaped like any text, broken into lines after its dots where possible.

    Args:
        path: Such as ``layer1.0.sn2``.
        width: Columns of a line.
    """
    lines = [""]
    for part in re.findall(r"[^.]*\.|[^.]+$", printable(path)):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return rich.markup.escape("\n".join(lines))


def plain(text: str) -> str:
    """Text of the page for a terminal: ordinary blanks, and hyphens for minus signs."""
    return text.replace("\u00a0", " ").replace("\u2212", "-")
