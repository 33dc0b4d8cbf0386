"""Damaged files are refused or read as the undamaged ones, wherever a checksum can tell."""

from __future__ import annotations

import pytest
from mutations import SEEDS, damaged, read_damaged
from reading_session import ReadingSession

SEED = 20_000
COUNT = 1_200


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    samples = []
    for index, data in enumerate((*SEEDS.values(), b"")):
        samples.append(folder / str(index))
        samples[-1].write_bytes(data)
    with ReadingSession(tmp_path_factory.mktemp("worker"), samples) as session:
        yield session


def test_damage_is_found_or_harmless(session, tmp_path):
    outcomes = read_damaged(session, tmp_path, SEED, COUNT)
    assert outcomes.faults == []
    assert sum(outcomes.counts.values()) == COUNT
    for form in SEEDS:
        assert outcomes.counts[form, "refused"] > COUNT / len(SEEDS) / 3
    assert outcomes.counts["zip", "silent"] == 0
    # The other formats have no checksums; if nothing is silent there, nothing was damaged.
    assert outcomes.counts["legacy", "silent"] > 0
    assert outcomes.counts["safetensors", "silent"] > 0


def test_the_same_numbers_give_the_same_files():
    assert damaged(3, 7) == damaged(3, 7)
    assert damaged(3, 7) != damaged(4, 7)
    assert all(damaged(0, index)[1] not in SEEDS.values() for index in range(100))


@pytest.mark.parametrize("form", SEEDS)
def test_the_seeds_are_sound(session, tmp_path, form):
    (tmp_path / "net.pth").write_bytes(SEEDS[form])
    reading = session.read(tmp_path / "net.pth")
    assert (reading.kind, reading.changed, reading.problems) == ("read", (), ())
