"""Times on the disk: only whole ones, and only those of the very place and machine."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from ssn_prune.costs.cache import TimesCache, default_cache
from ssn_prune.costs.places import Place
from ssn_prune.normalizer import ALL_PAIRS
from ssn_prune.pruning.capture.records import ConvShape, Operation, Surroundings

CONV = ConvShape((1, 16, 8, 8), (8, 16, 1, 1), True, False, (1, 1), (0, 0), (), (1, 1))
PLACE = Place(
    Surroundings((1, 8, 8, 8), CONV, (Operation("aten.relu.default", ("value",)),)), True, 0, True
)
TIMES = {pair: 0.1 + index for index, pair in enumerate(ALL_PAIRS)}


@pytest.fixture
def cache(tmp_path):
    return TimesCache(tmp_path / "new" / "folder", {"processor": "A"})


def only_file(cache):
    (path,) = cache.folder.iterdir()
    return path


def test_what_was_stored_is_loaded(cache):
    assert cache.load(PLACE) == {}
    cache.store(PLACE, TIMES)
    assert cache.load(PLACE) == TIMES
    assert [path.suffix for path in cache.folder.iterdir()] == [".json"]


def test_other_places_and_machines_are_other_entries(cache):
    cache.store(PLACE, TIMES)
    around = PLACE.surroundings
    others = [
        replace(PLACE, foldable=False),
        replace(PLACE, correction=1),
        replace(PLACE, affine=False),
        replace(PLACE, surroundings=replace(around, shape=(2, 8, 8, 8))),
        replace(PLACE, surroundings=replace(around, tail=())),
        replace(PLACE, surroundings=replace(around, added=(1, 8, 8, 8))),
    ]
    assert all(cache.load(place) == {} for place in others)
    assert TimesCache(cache.folder, {"processor": "B"}).load(PLACE) == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[" * 100_000,
        lambda _: "[]",
        lambda text: json.dumps({**json.loads(text), "key": {}}),
        lambda text: json.dumps({**json.loads(text), "milliseconds": [1.0]}),
        lambda text: json.dumps({**json.loads(text), "milliseconds": {"BN/XX": 1.0}}),
        lambda text: json.dumps({**json.loads(text), "milliseconds": {"BN/BN": "1"}}),
        lambda text: json.dumps({**json.loads(text), "milliseconds": {"BN/BN": True}}),
        lambda text: json.dumps({**json.loads(text), "milliseconds": {"BN/BN": -1.0}}),
        lambda text: json.dumps({**json.loads(text), "milliseconds": {"BN/BN": float("nan")}}),
        lambda text: json.dumps({**json.loads(text), "milliseconds": {"BN/BN": float("inf")}}),
        lambda text: text + " " * 100_000,
    ],
)
def test_a_damaged_file_counts_as_none(cache, damage):
    cache.store(PLACE, TIMES)
    path = only_file(cache)
    path.write_text(damage(path.read_text()))
    assert cache.load(PLACE) == {}
    cache.store(PLACE, TIMES)
    assert cache.load(PLACE) == TIMES


def test_bytes_that_are_no_text_count_as_none(cache):
    cache.store(PLACE, TIMES)
    only_file(cache).write_bytes(b"\xff\xfe\x00")
    assert cache.load(PLACE) == {}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = TimesCache(blocked / "folder", {})
    cache.store(PLACE, TIMES)
    assert cache.load(PLACE) == {}


def test_without_a_folder_nothing_is_kept():
    cache = TimesCache(None, {})
    cache.store(PLACE, TIMES)
    assert cache.load(PLACE) == {}


def test_the_folder_is_in_the_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "ssn_prune" / "costs"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, as its definition says
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / ".cache" / "ssn_prune" / "costs"
    assert not os.path.exists(default_cache())
