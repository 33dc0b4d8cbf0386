"""Text of files and users, fit to be printed."""

from __future__ import annotations

import rich.markup


def escape(text: object) -> str:
    """Make text harmless for a terminal and for rich.

    Args:
        text: A name or message with anything in it.

    Returns:
        The text with its markup escaped. What cannot be seen, or would move the cursor or the
        direction of writing (control characters, lone surrogates), is shown as Python writes it.
    """
    return rich.markup.escape("".join(map(_visible, str(text))))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
