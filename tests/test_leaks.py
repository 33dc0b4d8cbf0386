"""Conversions leave nothing behind: handles, threads, temporary files, and objects of ours.

``benchmarks/leaks.py`` converts 500 times, and measures what torch keeps.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from pathlib import Path

import pytest
from library_networks import FAILING, OneLayer, as_loaded
from networks import BN, IN, LN
from process_state import held_by_process, threads_of_process

from ssn_prune import convert
from ssn_prune.errors import SsnPruneError
from ssn_prune.normalizer import NormalizerPair

pytestmark = pytest.mark.usefixtures("own_temporary_folder")

PAIRS = [NormalizerPair(mean, var) for mean in (IN, LN, BN) for var in (LN, BN)]
CONVERSIONS = 2 * len(PAIRS)


def ours() -> Counter[str]:
    """Living objects of classes of ssn_prune, and networks that were converted."""
    gc.collect()
    kinds = (type(item) for item in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in kinds
        if str(kind.__module__).startswith("ssn_prune") or issubclass(kind, OneLayer)
    )


def convert_one(index: int, path: Path) -> weakref.ref[OneLayer]:
    model = OneLayer(3 + index % 5, PAIRS[index % len(PAIRS)])
    convert(as_loaded(model), path, force=True)
    return weakref.ref(model)


def test_an_object_that_is_kept_is_seen(tmp_path: Path) -> None:
    before = ours()
    kept = OneLayer()
    descriptors = held_by_process()["descriptors"]
    with (tmp_path / "open").open("w"):
        assert len(held_by_process()["descriptors"]) == 1 + len(descriptors)
    assert (ours() - before)[f"{OneLayer.__module__}.OneLayer"] == 1
    del kept


def test_many_conversions_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for index in range(3):
        convert_one(index, path)
    before, held, threads = ours(), held_by_process(), threads_of_process()
    networks = [convert_one(index, path) for index in range(CONVERSIONS)]
    assert ours() == before
    assert [network for network in networks if network() is not None] == []
    assert held_by_process() == held
    assert threads_of_process() == threads
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def fail(stage: str, path: Path) -> weakref.ref[OneLayer]:
    make, code = FAILING[stage]
    model = make()
    with pytest.raises(SsnPruneError) as raised:
        convert(as_loaded(model), path)
    assert raised.value.code == code
    return weakref.ref(model)


def test_failed_conversions_leave_nothing_behind(tmp_path: Path) -> None:
    convert_one(0, tmp_path / "m.onnx")
    fail("translation", tmp_path / "n.onnx")
    before, held, threads = ours(), held_by_process(), threads_of_process()
    networks = {stage: fail(stage, tmp_path / "n.onnx") for stage in FAILING}
    assert ours() == before
    assert [stage for stage, network in networks.items() if network() is not None] == []
    assert held_by_process() == held
    assert threads_of_process() == threads
