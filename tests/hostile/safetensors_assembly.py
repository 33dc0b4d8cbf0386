"""Safetensors files whose header can say anything."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from sound_content import STATE

_DTYPES = {"FloatStorage": "F32", "LongStorage": "I64"}
DATA = b"".join(stored.data for stored in STATE)


def header() -> dict[str, Any]:
    """The header of the sound content."""
    entries, at = {}, 0
    for stored in STATE:
        end = at + len(stored.data)
        kind = _DTYPES[stored.storage]
        entries[stored.key] = {"dtype": kind, "shape": [*stored.shape], "data_offsets": [at, end]}
        at = end
    return entries


def safetensors(
    changes: Mapping[str, Any] | None = None,
    *,
    text: bytes | None = None,
    length: int | None = None,
    data: bytes = DATA,
) -> bytes:
    """A file.

    Args:
        changes: Entries of the header to add or to replace.
        text: The header as text.
        length: Length that the first eight bytes claim.
        data: Bytes after the header.
    """
    if text is None:
        text = json.dumps({**header(), **(changes or {})}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def changed(key: str, **fields: Any) -> bytes:
    """A file in which some fields of one entry are changed."""
    return safetensors({key: {**header()[key], **fields}})
