"""Text that rich prints as it is."""

from __future__ import annotations

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
