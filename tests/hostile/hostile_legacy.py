"""Files in torch's old layout whose parts contradict each other."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from io import BytesIO

from hostile_case import HARMLESS, READ, REFUSED, TYPED, Case
from legacy_assembly import MAGIC, PROTOCOL, SYSTEM, legacy
from pickle_assembly import (
    EMPTY_DICT,
    FALSE,
    NONE,
    call,
    listing,
    mapping,
    name,
    number,
    program,
    real,
    several,
    tensor,
    text,
)
from sound_content import STORAGES, checkpoint, state_dict

KEYS = sorted(STORAGES)
SYSTEM_CALL = call(name("os", "system"), text("touch canary"))


def view(*fields: bytes) -> bytes:
    """The sound content in which one storage is a view of another."""
    value = tensor("1", 4, (4,), view=several(*fields))
    return program(checkpoint({"n.weight": value}, view=NONE))


def tar() -> bytes:
    """The layout of 2016."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for part in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(part), BytesIO())
    return buffer.getvalue()


FILES: dict[str, tuple[str, bytes]] = {
    "sound": (READ, legacy()),
    "magic of another number": (REFUSED, legacy(magic=program(number(7)))),
    "magic a text": (REFUSED, legacy(magic=program(text("x")))),
    "magic a call": (REFUSED, legacy(magic=program(SYSTEM_CALL))),
    "magic twice": (REFUSED, legacy(magic=MAGIC * 2)),
    "magic only": (REFUSED, MAGIC),
    "magic and protocol only": (REFUSED, MAGIC + PROTOCOL),
    "no objects": (REFUSED, MAGIC + PROTOCOL + SYSTEM),
    "protocol 9": (REFUSED, legacy(protocol=program(number(9)))),
    "protocol 2**70": (REFUSED, legacy(protocol=program(number(1 << 70)))),
    "protocol a text": (REFUSED, legacy(protocol=program(text("1001")))),
    "protocol a call": (REFUSED, legacy(protocol=program(SYSTEM_CALL))),
    "system None": (HARMLESS, legacy(system=program(NONE))),
    "system empty": (HARMLESS, legacy(system=program(EMPTY_DICT))),
    "system a call": (REFUSED, legacy(system=program(SYSTEM_CALL))),
    "system big endian": (
        TYPED,
        legacy(system=program(mapping([(text("little_endian"), FALSE)]))),
    ),
    "system of wild sizes": (
        HARMLESS,
        legacy(system=program(mapping([(text("type_sizes"), number(1 << 70))]))),
    ),
    "keys missing": (REFUSED, legacy(order=KEYS[:-1])),
    "keys none": (REFUSED, legacy(order=[])),
    "keys None": (REFUSED, legacy(keys=program(NONE))),
    "keys a dict": (REFUSED, legacy(keys=program(EMPTY_DICT))),
    "keys numbers": (REFUSED, legacy(keys=program(listing(*map(number, range(len(KEYS))))))),
    "keys lists": (REFUSED, legacy(keys=program(listing(*[listing()] * len(KEYS))))),
    "keys a call": (REFUSED, legacy(keys=program(listing(SYSTEM_CALL)))),
    "keys that nobody has": (HARMLESS, legacy(order=[*KEYS, "none"])),
    "keys twice": (HARMLESS, legacy(order=[*KEYS, KEYS[1]])),
    "keys twice, first": (REFUSED, legacy(order=[KEYS[0], KEYS[0], *KEYS[2:]])),
    "keys in another order": (READ, legacy(order=KEYS[::-1])),
    "keys exchanged": (
        REFUSED,
        legacy(keys=program(listing(*map(text, [KEYS[1], KEYS[0], *KEYS[2:]])))),
    ),
    "a million keys": (
        REFUSED,
        legacy(keys=program(listing(*[text("0")] * 300_000))),
    ),
    "size 0": (REFUSED, legacy(counts={"1": 0})),
    "size one less": (REFUSED, legacy(counts={"1": 3})),
    "size one more": (REFUSED, legacy(counts={"1": 5})),
    "size 2**40": (REFUSED, legacy(counts={"1": 1 << 40})),
    "size 2**62": (REFUSED, legacy(counts={"1": 1 << 62})),
    "size 2**63": (REFUSED, legacy(counts={"1": 1 << 63})),
    "size -1": (REFUSED, legacy(counts={"1": -1})),
    "last size one more": (REFUSED, legacy(counts={KEYS[-1]: 9})),
    "bytes behind": (HARMLESS, legacy(after=b"x" * 100)),
    "a megabyte behind": (HARMLESS, legacy(after=bytes(1 << 20))),
    "another file behind": (HARMLESS, legacy(after=legacy())),
    "view None": (READ, legacy()),
    "view of the whole": (HARMLESS, legacy(view(text("9"), number(0), number(4)))),
    "view outside": (REFUSED, legacy(view(text("9"), number(1), number(4)))),
    "view of 2**62": (REFUSED, legacy(view(text("9"), number(1 << 62), number(1 << 62)))),
    "view negative": (REFUSED, legacy(view(text("9"), number(-1), number(4)))),
    "view too long": (REFUSED, legacy(view(text("9"), number(0), number(5)))),
    "view of reals": (REFUSED, legacy(view(text("9"), real(0.0), real(4.0)))),
    "view of nothing": (REFUSED, legacy(view())),
    "view of text": (REFUSED, legacy(view(text("9"), text("0"), text("4")))),
    "no view": (HARMLESS, legacy(program(checkpoint()))),
    "weights as only content": (READ, legacy(program(state_dict(view=NONE)))),
    "only a pickle": (REFUSED, program(checkpoint(view=NONE))),
    "only a pickle of nothing": (REFUSED, program(EMPTY_DICT)),
    "only a pickle of numbers": (REFUSED, program(mapping([(text("a"), number(1))]))),
    "only a pickle of a call": (REFUSED, program(SYSTEM_CALL)),
    "tar": (REFUSED, tar()),
}  # fmt: skip


def _cuts(whole: bytes) -> Iterator[int]:
    """Ends of the parts, and places around."""
    at = 0
    for part in (MAGIC, PROTOCOL, SYSTEM, program(checkpoint(view=NONE))):
        at += len(part)
        yield from (at - 1, at, at + 1)
    tail = sum(8 + len(data) for data in STORAGES.values())
    start = len(whole) - tail
    yield from (start - 1, start, start + 7, start + 8, len(whole) - 1)


def _cases() -> Iterator[Case]:
    for key, (outcome, whole) in FILES.items():
        yield Case(f"legacy: {key}", outcome, lambda w=whole: w)
    whole = legacy()
    for cut in _cuts(whole):
        yield Case(f"legacy: cut at {cut}", REFUSED, lambda c=cut: whole[:c])


CASES = tuple(_cases())
