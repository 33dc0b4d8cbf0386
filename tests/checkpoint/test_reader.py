"""Reading files: every format, and nothing in them is ever executed."""

import argparse
import collections
import hashlib
import os
import pathlib
import zipfile

import numpy as np
import pytest
import torch
from helpers import Evaluates, Executes
from safetensors.torch import save_file
from stored_files import read_all

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.unpickling import Inert, NumpyArray
from ssn_prune.errors import CheckpointError, UnsafeCheckpointError

BOTH_FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class OwnClass:
    def __setstate__(self, state):
        pathlib.Path(state["canary"]).touch()


@pytest.fixture
def content():
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor([3])}
    return {"epoch": 7, "state_dict": weights}


def save(path, content, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_explains(error):
    assert error.problem
    assert error.expected
    assert error.found
    assert error.hint


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        read_all(path)
    assert not isinstance(caught.value, UnsafeCheckpointError)
    assert_explains(caught.value)
    return caught.value


@BOTH_FORMATS
def test_torch_files_are_read_bit_for_bit(tmp_path, content, zipped):
    path = save(tmp_path / "net.pth", content, zipped)
    with open_checkpoint(path) as file:
        assert file.format == ("zip" if zipped else "legacy")
        assert file.has_checksums is zipped
        assert file.file.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert zipfile.is_zipfile(path) is zipped
    found = read_all(path)
    assert found["epoch"] == 7
    for key, value in content["state_dict"].items():
        assert torch.equal(found["state_dict"][key], value)
        assert found["state_dict"][key].dtype == value.dtype


@BOTH_FORMATS
def test_cuda_storages_load_on_the_cpu(tmp_path, content, zipped, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _storage: "cuda:0")
        path = save(tmp_path / "net.pth", content, zipped)
    assert b"cuda:0" in path.read_bytes()
    value = read_all(path)["state_dict"]["a.weight"]
    assert value.device.type == "cpu"
    assert torch.equal(value, content["state_dict"]["a.weight"])


def test_safetensors_are_read_with_their_metadata(tmp_path, content):
    path = tmp_path / "net.safetensors"
    save_file(content["state_dict"], path, metadata={"arch": "resnetv1ssn18"})
    with open_checkpoint(path) as file:
        assert file.format == "safetensors"
        assert not file.has_checksums
        assert file.metadata == {"arch": "resnetv1ssn18"}
    found = read_all(path)
    assert found.keys() == content["state_dict"].keys()
    assert torch.equal(found["a.weight"], content["state_dict"]["a.weight"])


def test_safetensors_without_metadata(tmp_path, content):
    save_file(content["state_dict"], tmp_path / "net.safetensors")
    with open_checkpoint(tmp_path / "net.safetensors") as file:
        assert file.metadata == {}


@BOTH_FORMATS
@pytest.mark.parametrize(
    "metadata",
    [
        argparse.Namespace(lr=0.1, workers=[1, 2]),
        np.float64(76.5),
        np.int64(3),
        np.arange(3.0),
        pathlib.PurePosixPath("a/b"),
        pathlib.PureWindowsPath("a/b"),
        pathlib.Path("a/b"),
    ],
    ids=["Namespace", "float64", "int64", "ndarray", "PurePosixPath", "PureWindowsPath", "Path"],
)
def test_metadata_becomes_a_number_or_a_stand_in(tmp_path, content, zipped, metadata):
    path = save(tmp_path / "net.pth", {**content, "extra": metadata}, zipped)
    found = read_all(path)
    if isinstance(metadata, np.generic):
        assert found["extra"] == metadata
    else:
        assert isinstance(found["extra"], Inert | NumpyArray)
    assert torch.equal(found["state_dict"]["a.weight"], content["state_dict"]["a.weight"])


@BOTH_FORMATS
@pytest.mark.parametrize("factory", [list, dict, int, float, str])
def test_defaultdict_becomes_a_mapping_with_its_entries(tmp_path, content, zipped, factory):
    history = collections.defaultdict(factory, loss=[1.0, 0.5])
    found = read_all(save(tmp_path / "net.pth", {**content, "history": history}, zipped))
    assert found["history"] == {"loss": [1.0, 0.5]}


def test_reading_changes_nothing_in_torch(tmp_path, content):
    path = save(tmp_path / "net.pth", {**content, "args": argparse.Namespace(lr=1)}, True)
    before = set(torch.serialization.get_safe_globals())
    read_all(path)
    assert set(torch.serialization.get_safe_globals()) == before


def payload(kind, canary):
    if kind == "system":
        return Executes(canary), f"{os.system.__module__}.system"
    if kind == "own class":
        value = OwnClass()
        value.canary = str(canary)
        return value, f"{__name__}.OwnClass"
    return Evaluates(canary, {"eval": eval, "exec": exec}[kind]), kind


@BOTH_FORMATS
@pytest.mark.parametrize("kind", ["system", "eval", "exec", "own class"])
def test_a_global_that_could_execute_is_refused_by_name(tmp_path, content, zipped, kind):
    canary = tmp_path / "canary"
    danger, name = payload(kind, canary)
    path = save(tmp_path / "net.pth", {**content, "x": danger}, zipped)
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_all(path)
    assert not canary.exists()
    assert caught.value.global_name.removeprefix("__builtin__.") == name
    assert name in caught.value.problem
    assert_explains(caught.value)


@pytest.mark.parametrize("kind", ["system", "eval", "exec", "own class"])
def test_the_canary_does_die_without_the_protection(tmp_path, kind):
    canary = tmp_path / "canary"
    path = save(tmp_path / "net.pth", {"x": payload(kind, canary)[0]}, True)
    torch.load(path, weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize("kind", ["system", "eval"])
def test_a_dangerous_object_inside_tolerated_metadata_is_refused(tmp_path, content, kind):
    canary = tmp_path / "canary"
    options = argparse.Namespace(lr=0.1, hook=payload(kind, canary)[0])
    path = save(tmp_path / "net.pth", {**content, "args": options}, True)
    with pytest.raises(UnsafeCheckpointError):
        read_all(path)
    assert not canary.exists()


def test_a_whole_pickled_network_is_refused_by_its_class(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "net.pth")
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_all(tmp_path / "net.pth")
    assert caught.value.global_name == "torch.nn.modules.linear.Linear"
    assert "state_dict()" in caught.value.hint


def test_missing_file_names_its_neighbours(tmp_path, content):
    save(tmp_path / "model-best.pth", content, True)
    error = refusal(tmp_path / "model-bets.pth")
    assert "does not exist" in error.problem
    assert "model-best.pth" in error.hint


def test_missing_file_in_a_missing_folder(tmp_path):
    assert refusal(tmp_path / "none" / "net.pth").found == "no such file"


def test_directory(tmp_path):
    assert refusal(tmp_path).found == "a directory"


def test_empty_file(tmp_path):
    (tmp_path / "net.pth").touch()
    assert "empty" in refusal(tmp_path / "net.pth").problem


@pytest.mark.parametrize("share", [0.02, 0.3, 0.75, 0.9, 0.999])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_file(tmp_path, content, form, share):
    path = tmp_path / "net.pth"
    if form == "safetensors":
        save_file(content["state_dict"], path)
    else:
        save(path, content, form == "zip")
    whole = path.read_bytes()
    cut = max(1, int(share * len(whole)))
    path.write_bytes(whole[:cut])
    refusal(path)


def test_a_file_cut_inside_a_harmless_name_is_not_called_dangerous(tmp_path, content):
    path = save(tmp_path / "net.pth", content, False)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"collections\nOrderedDict") + len("collection")])
    assert "damaged, truncated" in refusal(path).problem


def test_text_file(tmp_path):
    (tmp_path / "net.pth").write_text("weights of last week\n")
    assert "weights of" in refusal(tmp_path / "net.pth").found


def test_a_zip_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refusal(tmp_path / "net.pth")


@pytest.mark.parametrize("head", [b"\x80", b"\x80\x02", b"\x80\x02." * 3, b"\x80\xff\x00\x01"])
def test_damaged_pickles(tmp_path, head):
    (tmp_path / "net.pth").write_bytes(head)
    refusal(tmp_path / "net.pth")


@pytest.mark.parametrize("length", [0, 1, 5, 2**40, 2**63])
def test_safetensors_with_a_false_header_length(tmp_path, length):
    header = length.to_bytes(8, "little") + b"{}   "
    (tmp_path / "net.safetensors").write_bytes(header)
    if length == 5:
        assert read_all(tmp_path / "net.safetensors") == {}
    else:
        refusal(tmp_path / "net.safetensors")
