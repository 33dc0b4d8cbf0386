"""Text out of a file, made fit for a message."""

_LONGEST = 80


def printable(text: str) -> str:
    """The text with escapes for what a terminal would obey or could not encode."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def shown(text: str) -> str:
    """The text in quotes, printable and of a bounded length."""
    return printable(repr(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."))
