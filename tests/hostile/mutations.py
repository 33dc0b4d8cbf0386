"""Small checkpoints with random damage: they are refused, or read as the undamaged ones.

    python tests/hostile/mutations.py [--seeds 12] [--count 1000]

In a format without checksums, damage inside the values of a tensor or metadata such as the epoch
cannot be detected; such readings are counted as ``silent``. Everything else is a fault, printed
with the call that makes its file.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from legacy_assembly import legacy
from pickle_assembly import NONE, mapping, number, program, real, text
from reading_session import Reading, ReadingSession
from safetensors_assembly import safetensors
from sound_content import checkpoint
from zip_assembly import End, Member, archive, members, zipped

BESIDE = [
    (text("best_prec1"), real(76.5)),
    (text("history"), mapping([(text("loss"), number(3)), (number(7), NONE)])),
]
PICKLE = program(checkpoint(beside=BESIDE))


def _seeds() -> dict[str, bytes]:
    """Sound files, by name of the format."""
    plain = members(PICKLE)
    return {
        "zip": archive(plain, End(zip64=(None, None, None))),
        "zip without checksums": archive([Member(m.name, m.data, crc=0) for m in plain]),
        "legacy": legacy(program(checkpoint(beside=BESIDE, view=NONE))),
        "safetensors": safetensors({"__metadata__": {"epoch": "7"}}),
    }


SEEDS = _seeds()
WITH_CHECKSUMS = ("zip",)


def flip(data: bytearray, chance: random.Random) -> None:
    """Flip one bit."""
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def replace(data: bytearray, chance: random.Random) -> None:
    """Replace one byte by a special one."""
    data[chance.randrange(len(data))] = chance.choice(b"\0\1\x7f\x80\xff().cRbQ\x81\x93")


def insert(data: bytearray, chance: random.Random) -> None:
    """Insert a few bytes."""
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.randint(1, 9))


def delete(data: bytearray, chance: random.Random) -> None:
    """Delete a few bytes."""
    at = chance.randrange(len(data))
    del data[at : at + chance.randint(1, 9)]


def truncate(data: bytearray, chance: random.Random) -> None:
    """Cut off the end."""
    del data[chance.randrange(len(data)) :]


def swap(data: bytearray, chance: random.Random) -> None:
    """Swap two pieces."""
    size = chance.randint(1, 32)
    one, other = sorted(chance.randrange(len(data)) for _ in range(2))
    first, second = data[one : one + size], data[other : other + size]
    data[other : other + size] = first
    data[one : one + size] = second


def repeat(data: bytearray, chance: random.Random) -> None:
    """Repeat a piece."""
    at = chance.randrange(len(data))
    data[at:at] = data[at : at + chance.randint(1, 64)]


def enlarge(data: bytearray, chance: random.Random) -> None:
    """Replace four or eight bytes by a large number."""
    size = chance.choice((2, 4, 8))
    at = chance.randrange(len(data))
    value = chance.choice((0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1)))
    data[at : at + size] = value.to_bytes(size, "little")


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(flip, replace, insert, delete, truncate, swap, repeat, enlarge),
)


def damaged(seed: int, index: int) -> tuple[str, bytes]:
    """The format and the bytes of one damaged file; the same for the same numbers."""
    chance = random.Random(seed * 1_000_003 + index)
    form = list(SEEDS)[index % len(SEEDS)]
    return form, damage(SEEDS[form], chance)


def damage(sound: bytes, chance: random.Random) -> bytes:
    """A file with one damage or more."""
    data = bytearray(sound)
    while bytes(data) == sound or chance.random() < 0.3:
        if data:
            chance.choice(DAMAGES)(data, chance)
    return bytes(data)


@dataclass
class Outcomes:
    """The outcomes of damaged files.

    Attributes:
        counts: By format and outcome: refused, identical, silent.
        faults: One line for each wrong outcome.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, label: str, form: str, reading: Reading, sound: Reading) -> None:
        """Count one file, compared with the reading of the sound one."""
        problems = list(reading.problems)
        kind = "refused" if reading.kind in ("refused", "unsafe") else "identical"
        if reading.kind == "read" and (reading.changed or reading.facts != sound.facts):
            kind = "silent"
            if form in WITH_CHECKSUMS:
                problems.append(f"read {reading.changed or reading.facts} instead")
        self.counts[form, kind] += 1
        if problems or reading.kind == "failed":
            self.faults.append(f"{label} ({form}): {'; '.join(problems)}")


def read_damaged(session: ReadingSession, folder: Path, seed: int, count: int) -> Outcomes:
    """Read ``count`` damaged files of one seed."""
    outcomes = Outcomes()
    path = folder / "net.pth"
    sound = {}
    for form, data in SEEDS.items():
        path.write_bytes(data)
        sound[form] = session.read(path)
    for index in range(count):
        form, data = damaged(seed, index)
        path.write_bytes(data)
        reading = session.read(path)
        outcomes.add(f"damaged({seed}, {index})", form, reading, sound[form])
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    total: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        samples = [folder / "a.pth", folder / "b.pth"]
        samples[0].write_bytes(zipped())
        samples[1].write_bytes(b"")
        with ReadingSession(folder, samples) as session:
            for seed in range(options.seeds):
                outcomes = read_damaged(session, folder, seed, options.count)
                total += outcomes.counts
                faults += outcomes.faults
    print("| format | refused | identical | silent |")
    print("|---|---|---|---|")
    for form in SEEDS:
        kinds = (total[form, kind] for kind in ("refused", "identical", "silent"))
        print(f"| {form} | {' | '.join(map(str, kinds))} |")
    for fault in faults:
        print(fault)
    print(f"{sum(total.values())} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
