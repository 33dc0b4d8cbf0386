"""Files that are no gate history, and damaged ones: one typed error, and nothing is executed."""

import io
import json
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import Executes

from ssn_prune.errors import CheckpointError
from ssn_prune.training.history import GateRecords

RATIOS = np.zeros((2, 1, 2, 3), np.float32)


def npz(save=np.savez, **content):
    file = io.BytesIO()
    save(file, **{name: value for name, value in content.items() if value is not None})
    return file.getvalue()


def arrays(save=np.savez, **changes):
    """A sound history, but for the changes."""
    header = {"format": "ssn_prune gate history 1", "layers": ["a"]} | changes.pop("header", {})
    content = {"header": np.array(json.dumps(header)), "steps": np.arange(2), "ratios": RATIOS}
    return npz(save, **(content | changes))


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def foreign_zip():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights.txt", "none")
    return file.getvalue()


WRONG = {
    "empty": b"",
    "garbage": b"\x00\x01garbage" * 20,
    "text": b"step,ratio\n0,1\n",
    "pickle": pickle.dumps([1, 2]),
    "one array": npy(np.zeros(3)),
    "another zip": foreign_zip(),
    "no ratios": arrays(ratios=None),
    "pickled entry": arrays(ratios=np.array([object()], dtype=object)),
    "two normalizers": arrays(ratios=np.zeros((2, 1, 2, 2), np.float32)),
    "more steps than ratios": arrays(steps=np.arange(3)),
    "no header": arrays(header={"format": None}),
    "header of text": npz(header=np.array("ssn"), steps=np.arange(2), ratios=RATIOS),
    "deep header": npz(header=np.array("[" * 10**5), steps=np.arange(2), ratios=RATIOS),
    "other version": arrays(header={"format": "ssn_prune gate history 9"}),
    "layers missing": arrays(header={"layers": None}),
    "layers of numbers": arrays(header={"layers": [1]}),
    "scalar steps": arrays(steps=np.array(2)),
    "steps of text": arrays(steps=np.array(["a", "b"])),
    "double ratios": arrays(ratios=np.zeros((2, 1, 2, 3))),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_a_typed_error(tmp_path, kind):
    path = tmp_path / "history.npz"
    path.write_bytes(WRONG[kind])
    with pytest.raises(CheckpointError, match="is not a gate history") as caught:
        GateRecords.load(path)
    assert caught.value.found


@pytest.mark.parametrize("make", ["missing", "folder"])
def test_no_file_is_a_typed_error(tmp_path, make):
    path = tmp_path if make == "folder" else tmp_path / "absent.npz"
    with pytest.raises(CheckpointError, match="is not a gate history") as caught:
        GateRecords.load(path)
    found = {"missing": "no such file or directory", "folder": "no regular file"}
    assert caught.value.found == found[make]


@pytest.mark.parametrize("place", ["file", "entry"])
def test_a_pickle_is_not_executed(tmp_path, place):
    canary, path = tmp_path / "canary", tmp_path / "history.npz"
    attack = Executes(canary)
    bomb = np.array([attack], dtype=object)
    path.write_bytes(pickle.dumps(attack) if place == "file" else arrays(ratios=bomb))
    with pytest.raises(CheckpointError):
        GateRecords.load(path)
    assert not canary.exists()
    np.load(path, allow_pickle=True) if place == "file" else np.load(path, allow_pickle=True)[
        "ratios"
    ]
    assert canary.exists(), "the file would have been harmless anyway"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_gives_the_history_or_a_typed_error(tmp_path, save):
    """Bit flips, overwritten bytes and cuts, anywhere."""
    path, draw = Path(tmp_path / "history.npz"), random.Random(0)
    noise = np.random.default_rng(0).random((2, 1, 2, 3)).astype(np.float32)
    sound = arrays(save, ratios=noise)
    path.write_bytes(sound)
    assert GateRecords.load(path).layers == ("a",)
    refused = 0
    for _ in range(400):
        damaged = bytearray(sound)
        if draw.random() < 0.2:
            del damaged[draw.randrange(len(damaged)) :]
        else:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            records = GateRecords.load(path)
        except CheckpointError:
            refused += 1
        else:
            assert np.array_equal(records.ratios, noise)
    assert refused > 200
