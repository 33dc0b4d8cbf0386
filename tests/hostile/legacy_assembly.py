"""The layout that ``torch.save`` wrote before version 1.6, part by part."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from pickle_assembly import NONE, TRUE, listing, mapping, number, program, text
from sound_content import STATE, STORAGES, checkpoint

MAGIC = program(number(0x1950A86A20F9469CFC6C))
PROTOCOL = program(number(1001))
SYSTEM = program(
    mapping(
        [
            (text("protocol_version"), number(1001)),
            (text("little_endian"), TRUE),
            (text("type_sizes"), mapping([(text("int"), number(4))])),
        ]
    )
)
COUNTS = {str(index): len(stored.values) for index, stored in enumerate(STATE)}


def legacy(
    content: bytes | None = None,
    *,
    magic: bytes = MAGIC,
    protocol: bytes = PROTOCOL,
    system: bytes = SYSTEM,
    keys: bytes | None = None,
    counts: Mapping[str, int] | None = None,
    storages: Mapping[str, bytes] | None = None,
    order: Sequence[str] | None = None,
    after: bytes = b"",
) -> bytes:
    """A file.

    Args:
        content: Pickle of the objects; the sound content by default.
        magic: The first pickle.
        protocol: The second pickle.
        system: The third pickle.
        keys: Pickle of the list of storage keys.
        counts: Elements that each storage claims.
        storages: Data by key.
        order: Order in which the storages follow.
        after: Bytes at the end.
    """
    storages = STORAGES if storages is None else storages
    order = sorted(storages) if order is None else order
    counts = {**COUNTS, **(counts or {})}
    content = program(checkpoint(view=NONE)) if content is None else content
    keys = program(listing(*map(text, order))) if keys is None else keys
    data = b"".join(
        struct.pack("<Q", counts.get(key, 0) & (1 << 64) - 1) + storages.get(key, b"")
        for key in order
    )
    return magic + protocol + system + content + keys + data + after
