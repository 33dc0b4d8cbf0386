"""Zip archives that contradict themselves."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from hostile_case import HARMLESS, READ, REFUSED, Case
from pickle_assembly import program
from sound_content import STORAGES, checkpoint
from zip_assembly import End, Member, archive, deflated, members, zipped

PICKLE = program(checkpoint())
DATA = STORAGES["1"]
GIGABYTE = 1 << 30
ABSURD = 0xFFFFFFFF


def bomb(size: int) -> bytes:
    """Zeros, deflated: one block again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size >> 20) + packer.flush()


BOMB = bomb(GIGABYTE)


def _one(inner: str, **fields: Any) -> bytes:
    """An archive in which the fields of one member are changed."""
    data = PICKLE if inner == "data.pkl" else DATA
    member = Member(**{"name": f"net/{inner}".encode(), "data": data, **fields})
    return archive(members(changes={inner: member}))


# Fields of one storage's member, or of the pickle's.
FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "checksum wrong": (REFUSED, {"crc": 0x12345678}),
    "checksum zero beside others": (REFUSED, {"crc": 0}),
    "local checksum differs": (HARMLESS, {"described": False, "local": {"crc": 1}}),
    "local size differs": (HARMLESS, {"described": False, "local": {"size": 1}}),
    "local stored size differs": (HARMLESS, {"described": False, "local": {"compressed": 1}}),
    "local sizes of 2**32 - 1": (HARMLESS, {"described": False, "local": {"compressed": ABSURD, "size": ABSURD}}),
    "local name differs": (REFUSED, {"local": {"name": b"net/data/9"}}),
    "local name longer": (REFUSED, {"local": {"name": b"net/data/1" + b"x" * 60}}),
    "local method differs": (REFUSED, {"local": {"method": 8}}),
    "local signature wrong": (REFUSED, {"local": {"signature": b"PK\3\5"}}),
    "local flags encrypted": (HARMLESS, {"local": {"flags": 0x0809}}),
    "encrypted": (REFUSED, {"flags": 0x0809}),
    "strongly encrypted": (REFUSED, {"flags": 0x0849}),
    "patched": (HARMLESS, {"flags": 0x0828}),
    "size too large": (REFUSED, {"size": 1 << 20, "compressed": 1 << 20}),
    "size of 2**32 - 2": (REFUSED, {"size": ABSURD - 1, "compressed": ABSURD - 1}),
    "size of 2**32 - 1 without zip64": (REFUSED, {"size": ABSURD, "compressed": ABSURD}),
    "size smaller": (REFUSED, {"size": 3, "compressed": 3}),
    "size of 0": (REFUSED, {"size": 0, "compressed": 0}),
    "size differs from the stored size": (REFUSED, {"size": 8}),
    "stored size differs": (REFUSED, {"compressed": 8}),
    "method 8, not compressed": (REFUSED, {"method": 8, "size": 16, "crc": 7}),
    "method 12": (REFUSED, {"method": 12}),
    "method 93": (REFUSED, {"method": 93}),
    "method 99": (REFUSED, {"method": 99}),
    "method 65535": (REFUSED, {"method": 65535}),
    "offset at the end": (REFUSED, {"offset": 1 << 20}),
    "offset of 2**32 - 2": (REFUSED, {"offset": ABSURD - 1}),
    "offset of 2**32 - 1 without zip64": (REFUSED, {"offset": ABSURD}),
    "offset of another member": (REFUSED, {"offset": 0}),
    "offset one off": (REFUSED, {"offset": 1}),
    "zip64 sizes of 2**63": (
        REFUSED,
        {"size": ABSURD, "compressed": ABSURD, "extra": struct.pack("<HHQQ", 1, 16, 1 << 63, 1 << 63)},
    ),
    "zip64 sizes of 2**40": (
        REFUSED,
        {"size": ABSURD, "compressed": ABSURD, "extra": struct.pack("<HHQQ", 1, 16, 1 << 40, 1 << 40)},
    ),
    "zip64 offset of 2**63": (
        REFUSED,
        {"offset": ABSURD, "extra": struct.pack("<HHQ", 1, 8, 1 << 63)},
    ),
    "zip64 field cut off": (
        REFUSED,
        {"size": ABSURD, "compressed": ABSURD, "extra": struct.pack("<HHQ", 1, 16, 16)},
    ),
    "zip64 field empty": (
        REFUSED,
        {"size": ABSURD, "compressed": ABSURD, "extra": struct.pack("<HH", 1, 0)},
    ),
    "extra field longer than itself": (HARMLESS, {"extra": struct.pack("<HH", 7, 60_000)}),
    "extra field of three bytes": (HARMLESS, {"extra": b"xyz"}),
    "name with NUL": (REFUSED, {"name": b"net/data/1\0.txt"}),
    "name absolute": (REFUSED, {"name": b"/etc/passwd"}),
    "name upwards": (REFUSED, {"name": b"net/data/../../1"}),
    "name with backslashes": (REFUSED, {"name": b"net\\data\\1"}),
    "name empty": (REFUSED, {"name": b""}),
    "name in invalid UTF-8": (REFUSED, {"name": b"net/data/\xff\xfe"}),
    "name of 60,000 letters": (REFUSED, {"name": b"net/" + b"x" * 60_000}),
    "name in capitals": (REFUSED, {"name": b"NET/DATA/1"}),
    "name with escape sequences": (REFUSED, {"name": b"net/\x1b[2J\x1b[31m1"}),
}  # fmt: skip


_TRUE_OF_PICKLE = ("method 8, not compressed", "offset of another member")


def _ends() -> dict[str, tuple[str, bytes]]:
    """Wrong fields in the end records."""
    sound = members()

    def lie(**fields: Any) -> bytes:
        return archive(sound, End(**fields))

    return {
        "no members": (REFUSED, archive([])),
        "entries 0": (REFUSED, lie(entries=0)),
        "entries one less": (REFUSED, lie(entries=len(sound) - 1)),
        "entries one more": (REFUSED, lie(entries=len(sound) + 1)),
        "entries 65,535": (REFUSED, lie(entries=65_535)),
        "directory size 0": (REFUSED, lie(size=0)),
        "directory size one less": (REFUSED, lie(size=len(sound) * 50)),
        "directory size 2**32 - 1": (REFUSED, lie(size=ABSURD)),
        "directory offset 0": (REFUSED, lie(offset=0)),
        "directory offset 2**32 - 1": (REFUSED, lie(offset=ABSURD)),
        "directory offset one off": (REFUSED, lie(offset=1)),
        "disk 1": (HARMLESS, lie(disk=1)),
        "comment": (HARMLESS, lie(comment=b"hello")),
        "comment with another end record": (
            HARMLESS,
            lie(comment=b"PK\5\6" + bytes(18)),
        ),
        "comment longer than itself": (HARMLESS, lie(comment=b"x", claimed=60_000)),
        "comment of 65,535": (HARMLESS, lie(comment=b"x" * 65_535)),
        "bytes before": (HARMLESS, lie(before=b"#!/bin/sh\n")),
        "a megabyte before": (HARMLESS, lie(before=bytes(1 << 20))),
        "bytes behind": (HARMLESS, lie(after=b"x")),
        "a megabyte behind": (HARMLESS, lie(after=bytes(1 << 20))),
        "gap before the directory": (HARMLESS, lie(gap=bytes(1000))),
        "another archive before": (HARMLESS, lie(before=zipped(b"\x80\x02N."))),
        "another archive behind": (HARMLESS, lie(after=archive(members(b"\x80\x02N.", {})))),
        "64-bit record": (READ, lie(zip64=(None, None, None))),
        "64-bit entries of 2**63": (REFUSED, lie(zip64=(1 << 63, None, None), entries=0xFFFF)),
        "64-bit entries one less": (REFUSED, lie(zip64=(3, None, None), entries=0xFFFF)),
        "64-bit size of 2**63": (REFUSED, lie(zip64=(None, 1 << 63, None), size=ABSURD)),
        "64-bit size of 2**64 - 1": (REFUSED, lie(zip64=(None, (1 << 64) - 1, None), size=ABSURD)),
        "64-bit offset of 2**63": (REFUSED, lie(zip64=(None, None, 1 << 63), offset=ABSURD)),
        "64-bit offset of 0": (REFUSED, lie(zip64=(None, None, 0), offset=ABSURD)),
        "64-bit locator outside": (HARMLESS, lie(zip64=(None, None, None), locator=1 << 62)),
        "64-bit locator at 0": (HARMLESS, lie(zip64=(None, None, None), locator=0)),
    }  # fmt: skip


def _torn(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Archives truncated at every structure."""
    for signature, label in (
        (b"PK\1\2", "directory"),
        (b"PK\3\4", "local header"),
        (b"PK\7\x08", "descriptor"),
    ):
        at = whole.find(signature)
        count = 0
        while at >= 0 and count < 3:
            for inside in (0, 4, 17):
                yield f"{label} {count} at {inside}", whole[: at + inside]
            at, count = whole.find(signature, at + 1), count + 1
    end = whole.rfind(b"PK\5\6")
    for inside in (0, 4, 12, 21):
        yield f"end record at {inside}", whole[: end + inside]


def _several() -> dict[str, tuple[str, Sequence[Member]]]:
    """Lists of members that are odd as a whole."""
    sound = members()
    pickle, storage = sound[0], next(m for m in sound if m.name == b"net/data/1")
    plain = {m.name: m for m in sound}
    zeros = [Member(m.name, m.data, crc=0) for m in sound]
    overlapping = Member(b"net/data/1", DATA, offset=0, local={})
    nested = archive(sound)
    return {
        "all checksums zero": (READ, zeros),
        "storage twice": (REFUSED, [*sound, storage]),
        "storage twice, other data": (REFUSED, [*sound, Member(storage.name, b"x" * 16)]),
        "pickle twice": (REFUSED, [*sound, pickle]),
        "pickle twice, other content": (REFUSED, [Member(pickle.name, b"\x80\x02N."), *sound]),
        "version twice": (HARMLESS, [*sound, plain[b"net/version"]]),
        "names that differ in case": (HARMLESS, [*sound, Member(b"net/DATA/1", b"x" * 16)]),
        "overlapping": (REFUSED, [*(m for m in sound if m is not storage), overlapping]),
        "no pickle": (REFUSED, [m for m in sound if m is not pickle]),
        "no version": (HARMLESS, [m for m in sound if m.name != b"net/version"]),
        "only a pickle": (REFUSED, [pickle]),
        "two roots": (HARMLESS, [*sound, *members(root="other")]),
        "two roots, two pickles": (REFUSED, [*sound, Member(b"other/data.pkl", b"\x80\x02N.")]),
        "a root in a root": (HARMLESS, [*sound, Member(b"net/net/data.pkl", b"\x80\x02N.")]),
        "no root": (HARMLESS, [Member(m.name.removeprefix(b"net/"), m.data) for m in sound]),
        "root of dots": (HARMLESS, members(root="..")),
        "root absolute": (HARMLESS, members(root="/net")),
        "root with a surrogate": (HARMLESS, members(root="nét")),
        "root with escape sequences": (HARMLESS, members(root="\x1b[2J")),
        "root of 10,000 letters": (HARMLESS, members(root="r" * 10_000)),
        "byteorder big": (HARMLESS, members(changes={"byteorder": Member(b"net/byteorder", b"big")})),
        "byteorder wild": (HARMLESS, members(changes={"byteorder": Member(b"net/byteorder", b"middle")})),
        "byteorder of a megabyte": (HARMLESS, members(changes={"byteorder": Member(b"net/byteorder", b"little" * 200_000)})),
        "byteorder in invalid UTF-8": (HARMLESS, members(changes={"byteorder": Member(b"net/byteorder", b"\xff\xfe")})),
        "version 99": (HARMLESS, members(changes={"version": Member(b"net/version", b"99")})),
        "version of letters": (HARMLESS, members(changes={"version": Member(b"net/version", b"x" * 100)})),
        "version of 100,000 digits": (HARMLESS, members(changes={"version": Member(b"net/version", b"9" * 100_000)})),
        "format version of letters": (HARMLESS, members(changes={".format_version": Member(b"net/.format_version", b"x")})),
        "script code": (REFUSED, [*sound, Member(b"net/code/__torch__.py", b"x"), Member(b"net/constants.pkl", b"\x80\x02).")]),
        "an archive in the archive": (HARMLESS, [*sound, Member(b"net/extra.zip", nested)]),
        "folders as members": (HARMLESS, [*sound, Member(b"net/data/", b""), Member(b"net/", b"")]),
        "pickle deflated": (HARMLESS, [Member(pickle.name, deflated(PICKLE), method=8), *sound[1:]]),
        "everything deflated": (HARMLESS, [Member(m.name, deflated(m.data), method=8) for m in sound]),
        "pickle a bomb": (REFUSED, [Member(pickle.name, BOMB, method=8, crc=0, size=GIGABYTE), *sound[1:]]),
        "pickle a bomb that claims little": (REFUSED, [Member(pickle.name, BOMB, method=8, crc=0, size=100), *sound[1:]]),
        "storage a bomb": (REFUSED, [*(m for m in sound if m is not storage), Member(storage.name, BOMB, method=8, crc=0, size=GIGABYTE)]),
        "storage a bomb that claims little": (REFUSED, [*(m for m in sound if m is not storage), Member(storage.name, BOMB, method=8, crc=0, size=16)]),
        "a bomb that nobody reads": (HARMLESS, [*sound, Member(b"net/data/99", BOMB, method=8, crc=0, size=GIGABYTE)]),
        "byteorder a bomb": (HARMLESS, [*(m for m in sound if m.name != b"net/byteorder"), Member(b"net/byteorder", BOMB, method=8, crc=0, size=GIGABYTE)]),
    }  # fmt: skip


CROWDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "100,000 members": (HARMLESS, 100_000, {}),
    "5,000 members that are all one": (REFUSED, 5_000, {"offset": 0}),
    "5,000 members of one name": (REFUSED, 5_000, {"name": b"net/x"}),
}


def _crowd(count: int, fields: dict[str, Any]) -> bytes:
    """A sound archive with many more members."""
    more = [Member(**{"name": f"net/x/{i}".encode(), "data": b"", **fields}) for i in range(count)]
    return archive([*members(), *more], End(zip64=(None, None, None)))


def _cases() -> Iterator[Case]:
    for key, (outcome, fields) in FIELDS.items():
        for inner in ("data/1", "data.pkl"):
            if inner == "data.pkl" and key in _TRUE_OF_PICKLE:
                continue
            yield Case(f"zip: {inner}: {key}", outcome, lambda i=inner, f=fields: _one(i, **f))
    for key, (outcome, whole) in _ends().items():
        yield Case(f"zip: end: {key}", outcome, lambda w=whole: w)
    whole = archive(members(), End(zip64=(None, None, None)))
    for key, torn in _torn(whole):
        yield Case(f"zip: cut in {key}", REFUSED, lambda t=torn: t)
    for key, (outcome, found) in _several().items():
        yield Case(f"zip: {key}", outcome, lambda f=found: archive(f))
    for key, (outcome, count, fields) in CROWDS.items():
        yield Case(f"zip: {key}", outcome, lambda c=count, f=fields: _crowd(c, f))


CASES = tuple(_cases())
