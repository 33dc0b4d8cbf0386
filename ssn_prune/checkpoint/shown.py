"""Text out of a file, made fit for a message."""

_LONGEST = 80


def shown(text: str) -> str:
    """The text in quotes, printable and of a bounded length."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return repr(cut) if cut.isprintable() else ascii(cut)
