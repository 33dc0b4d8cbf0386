"""Byte strings of Python 2: quoted with escapes, or raw, and mostly meant as text."""

from __future__ import annotations

import codecs
import re

from ssn_prune.checkpoint.unpickling.errors import PickleError

# Python's decoder warns about any other escape, process-wide. A pattern for the whole string would
# need a possessive group, which matches wrongly in Python before 3.11.5 (python/cpython#106052).
_ESCAPE = re.compile(
    rb"""\\ (?: x[0-9a-fA-F]{2} | [\\'"abfnrtv\n] | [0-7]{1,2}(?![0-7]) | [0-3][0-7]{2} )""",
    re.VERBOSE,
)


def unquoted(line: bytes) -> str | bytes:
    r"""The string behind a Python literal such as ``'a\x00b'``."""
    quote = line[:1]
    if len(line) < 2 or quote not in (b"'", b'"') or line[-1:] != quote:
        raise PickleError("a string without its quotes")
    inside = line[1:-1]
    if b"\\" in _ESCAPE.sub(b"", inside):
        raise PickleError("a string with an escape that Python does not write")
    return text_or_bytes(codecs.escape_decode(inside)[0])


def text_or_bytes(data: bytes) -> str | bytes:
    """Text where the bytes are UTF-8, as ``torch.load`` reads them; else the bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
