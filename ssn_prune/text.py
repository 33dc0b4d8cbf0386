"""Text from files and users, made safe to show in a message."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 80
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula if a cell starts with it."""


def printable(text: str) -> str:
    """The text on one line, with escapes for what a terminal would obey or could not encode.

    Control characters, lone surrogates and marks that change the direction of writing are escaped
    as in Python.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, longest: int = _LONGEST) -> str:
    """The text, cut to a number of characters with dots at its end."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def shown(text: str) -> str:
    """The text in quotes, printable and of a bounded length."""
    return printable(repr(shortened(text)))


def without_surrogates(text: str) -> str:
    """The text, with escapes for lone surrogates, which no stream can encode."""
    return text.encode("utf-8", "backslashreplace").decode()


def listed(items: Sequence[str], most: int) -> str:
    """The first items, and how many more there are."""
    more = f", and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def spreadsheet_cell(value: object) -> object:
    """A cell of a CSV file; text that would be a formula gets an apostrophe.

    Anybody may have chosen the names of layers and files.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
