"""Text that rich prints as it is."""

from __future__ import annotations

import re

import rich.markup

from ssn_prune.text import printable


def escape(text: object) -> str:
    """Make text harmless for a terminal and for rich.

    Args:
        text: A name or message with anything in it.

    Returns:
        The text in printable characters, with its markup escaped.
    """
    return rich.markup.escape(printable(str(text)))


def path_in_lines(path: str, width: int) -> str:
    """A path, harmless like any text, broken after its dots where that is possible.

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
    """Text of a page for a terminal, where blanks break and every dash and minus is a hyphen."""
    return text.replace("\u00a0", " ").replace("\u2212", "-")
