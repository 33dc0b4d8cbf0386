"""Zip archives written field by field, so that they can contradict themselves."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pickle_assembly import program
from sound_content import STORAGES, checkpoint

_DESCRIPTOR_AND_UTF8 = 0x0808


@dataclass(frozen=True)
class Member:
    """One member; fields that are None follow from its data.

    Attributes:
        name: As bytes, since it need not be text.
        data: Its content as stored.
        crc: Checksum, in every place.
        size: Length of the content, in every place.
        compressed: Length as stored, in every place.
        method: 0 stored, 8 deflated.
        flags: General purpose bits.
        local: Fields of the local header that differ from the central one: name, crc, size,
            compressed, method, flags, signature.
        offset: Where the central directory says it begins.
        described: Whether its sizes follow it, as torch writes them, instead of preceding it.
        extra: Extra field of the central header.
    """

    name: bytes
    data: bytes
    crc: int | None = None
    size: int | None = None
    compressed: int | None = None
    method: int = 0
    flags: int = _DESCRIPTOR_AND_UTF8
    local: Mapping[str, object] = field(default_factory=dict)
    offset: int | None = None
    described: bool = True
    extra: bytes = b""


@dataclass(frozen=True)
class End:
    """Fields of the end records that differ from the truth, and what surrounds them.

    Attributes:
        entries: Number of members.
        size: Size of the central directory.
        offset: Offset of the central directory.
        disk: Number of this disk.
        zip64: Fields (entries, size, offset) of the 64-bit record; None for no such record.
        locator: Where its locator says it is; None for the truth.
        comment: Comment.
        claimed: Length of the comment; None for the truth.
        before: Bytes before the archive.
        gap: Bytes between the members and the directory.
        after: Bytes after everything.
    """

    entries: int | None = None
    size: int | None = None
    offset: int | None = None
    disk: int = 0
    zip64: tuple[int | None, int | None, int | None] | None = None
    locator: int | None = None
    comment: bytes = b""
    claimed: int | None = None
    before: bytes = b""
    gap: bytes = b""
    after: bytes = b""


def archive(members: Iterable[Member], end: End | None = None) -> bytes:
    """The bytes of an archive."""
    end = end or End()
    body = bytearray(end.before)
    directory = bytearray()
    count = 0
    for member in members:
        begin = len(body)
        body += _local(member)
        directory += _central(member, begin)
        count += 1
    body += end.gap
    start = len(body)
    body += directory
    entries, size, offset = count, len(directory), start
    if end.zip64 is not None:
        at = len(body)
        told = [
            true if lie is None else lie
            for lie, true in zip(end.zip64, (entries, size, offset), strict=True)
        ]
        body += struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, told[0], *told)
        body += struct.pack("<4sIQI", b"PK\6\7", 0, at if end.locator is None else end.locator, 1)
    entries = entries if end.entries is None else end.entries
    size = size if end.size is None else end.size
    offset = offset if end.offset is None else end.offset
    entries = min(entries, 0xFFFF)
    claimed = len(end.comment) if end.claimed is None else end.claimed
    body += struct.pack(
        "<4sHHHHIIH", b"PK\5\6", end.disk, end.disk, entries, entries, size, offset, claimed
    )
    return bytes(body + end.comment + end.after)


def _fields(member: Member) -> dict[str, object]:
    plain = member.data
    if member.method == 8 and member.size is None:
        plain = zlib.decompress(member.data, -15)
    return {
        "name": member.name,
        "crc": zlib.crc32(plain) if member.crc is None else member.crc,
        "size": len(plain) if member.size is None else member.size,
        "compressed": len(member.data) if member.compressed is None else member.compressed,
        "method": member.method,
        "flags": member.flags,
        "signature": b"PK\3\4",
    }


def _local(member: Member) -> bytes:
    told = {**_fields(member), **member.local}
    sizes = [told["crc"], told["compressed"], told["size"]]
    flags = told["flags"] if member.described else int(told["flags"]) & ~8  # type: ignore[call-overload]
    shown = (
        [0, 0, 0]
        if member.described and not {"crc", "size", "compressed"} & member.local.keys()
        else sizes
    )
    head = struct.pack(
        "<4sHHHHHIIIHH",
        told["signature"],
        20,
        flags,
        told["method"],
        0,
        0,
        *shown,
        len(told["name"]),
        0,  # type: ignore[arg-type]
    )
    tail = struct.pack("<4sIII", b"PK\7\x08", *sizes) if member.described else b""
    return head + told["name"] + member.data + tail  # type: ignore[operator]


def _central(member: Member, begin: int) -> bytes:
    told = _fields(member)
    flags = member.flags if member.described else member.flags & ~8
    return (
        struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            b"PK\1\2", 0, 0, flags, member.method, 0, 0,
            told["crc"], told["compressed"], told["size"],
            len(member.name), len(member.extra), 0, 0, 0, 0,
            begin if member.offset is None else member.offset,
        )
        + member.name
        + member.extra
    )  # fmt: skip


def deflated(data: bytes) -> bytes:
    """Compress as a zip archive requires."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def members(
    pickle: bytes | None = None,
    storages: Mapping[str, bytes] | None = None,
    *,
    root: str = "net",
    changes: Mapping[str, Member | None] | None = None,
) -> list[Member]:
    """The members of a sound checkpoint.

    Args:
        pickle: ``data.pkl``; the sound content by default.
        storages: Data by key.
        root: Name of the folder.
        changes: Members to take instead, by the name inside the root; None leaves one out.
    """
    pickle = program(checkpoint()) if pickle is None else pickle
    content = {"data.pkl": pickle, ".format_version": b"1", "byteorder": b"little"}
    content |= {f"data/{k}": v for k, v in (STORAGES if storages is None else storages).items()}
    content |= {"version": b"3\n"}
    made: dict[str, Member | None] = {
        key: Member(f"{root}/{key}".encode(), data) for key, data in content.items()
    }
    return [member for member in {**made, **(changes or {})}.values() if member is not None]


def zipped(pickle: bytes | None = None, storages: Mapping[str, bytes] | None = None) -> bytes:
    """A sound archive with this pickle and these storages."""
    return archive(members(pickle, storages))
