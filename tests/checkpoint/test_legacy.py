"""The files of torch.save before zip archives, and their lies."""

import io
import pickle
import struct
import tarfile

import pytest
import torch
from stored_files import read_all

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.stored import StoredTensor
from ssn_prune.errors import CheckpointError, UnsafeCheckpointError

MAGIC = 0x1950A86A20F9469CFC6C


class Pid:
    """Stands for a persistent id in what is pickled."""

    def __init__(self, *parts):
        self.parts = parts

    def __call__(self):
        """What pickles call must look callable."""


class Whole:
    """An object of the class that a persistent id gives with its source."""

    def __reduce__(self):
        return Pid("module", torch.nn.Linear, "linear.py", "class Linear: ..."), ()


class Rebuilt:
    """A tensor in the form that is pickled."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return torch._utils._rebuild_tensor, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.parts if isinstance(obj, Pid) else None


def legacy(path, value, keys, storages, *, magic=MAGIC, version=1001):
    """A file in this format; storages are pairs of a stated number of elements and bytes."""
    with path.open("wb") as file:
        for part in (magic, version, {"little_endian": True}):
            pickle.dump(part, file, protocol=2)
        Pickler(file, protocol=2).dump(value)
        pickle.dump(keys, file, protocol=2)
        for count, data in storages:
            file.write(struct.pack("<q", count) + data)
    return path


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


def storage(key="0", numel=3, view=None, kind=torch.FloatStorage):
    return Pid("storage", kind, key, "cpu", numel, view)


def vector(where, size=3, offset=0):
    return Rebuilt(where, offset, (size,), (1,))


def refused(path, match=None):
    with pytest.raises(CheckpointError, match=match) as caught:
        read_all(path)
    assert caught.value.expected
    assert caught.value.hint
    return caught.value


GOOD = [(3, floats(1, 2, 3))]


def test_a_file_is_read(tmp_path):
    path = legacy(tmp_path / "a.pth", {"w": vector(storage())}, ["0"], GOOD)
    assert read_all(path)["w"].tolist() == [1, 2, 3]


def test_a_view_of_a_storage_is_read_and_stays_shared(tmp_path):
    whole = storage(numel=4)
    part = storage(numel=4, view=("v", 1, 2))
    value = {"w": vector(whole, 4), "part": vector(part, 2), "last": vector(part, 1, 1)}
    path = legacy(tmp_path / "a.pth", value, ["0"], [(4, floats(1, 2, 3, 4))])
    with open_checkpoint(path) as file:
        last = file.content.get("last")
        assert isinstance(last, StoredTensor)
        assert last.numbers() == [3.0]
    found = read_all(path)
    assert found["part"].tolist() == [2, 3]
    assert found["last"].tolist() == [3]


@pytest.mark.parametrize("view", [("v", 3, 2), ("v", 0, 5), ("v", -1, 2), ("v", 1), (1, 1, 1), "v"])
def test_a_view_beyond_its_storage_is_refused(tmp_path, view):
    part = vector(storage(numel=4, view=view), 2)
    refused(legacy(tmp_path / "a.pth", {"w": part}, ["0"], [(4, floats(1, 2, 3, 4))]), "damaged")


@pytest.mark.parametrize(
    ("keys", "storages"),
    [
        ([], []),
        (["1"], GOOD),
        (["0", "0"], GOOD * 2),
        (["0", "1"], GOOD * 2),
        ([0], GOOD),
        ("0", GOOD),
        (["0"], []),
        (["0"], [(2, floats(1, 2))]),
        (["0"], [(4, floats(1, 2, 3, 4))]),
        (["0"], [(-3, floats(1, 2, 3))]),
        (["0"], [(3, floats(1, 2))]),
    ],
)
def test_storages_that_are_never_filled_or_of_another_size_are_refused(tmp_path, keys, storages):
    refused(legacy(tmp_path / "a.pth", {"w": vector(storage())}, keys, storages), "damaged")


@pytest.mark.parametrize(
    "where",
    [
        Pid("storage", torch.FloatStorage, "0", "cpu", 2),
        Pid("storage", torch.FloatStorage, "0", "cpu", -3),
        Pid("storage", torch.FloatStorage, "0", "cpu", 3.0),
        Pid("storage", torch.FloatStorage, 0, "cpu", 3),
        Pid("storage", "FloatStorage", "0", "cpu", 3),
        Pid("storage", torch.float32, "0", "cpu", 3),
        Pid("storage", torch.FloatStorage, "0", "cpu"),
        Pid("storage", torch.FloatStorage, "0", "cpu", 3, None, None),
        Pid("other", torch.FloatStorage, "0", "cpu", 3),
        Pid("storage"),
        Pid(),
    ],
)
def test_a_false_reference_to_a_storage_is_refused(tmp_path, where):
    refused(legacy(tmp_path / "a.pth", {"w": vector(where)}, ["0"], GOOD), "damaged")


def test_one_storage_of_two_types_is_refused(tmp_path):
    value = {"w": vector(storage()), "v": vector(storage(kind=torch.IntStorage, numel=4))}
    refused(legacy(tmp_path / "a.pth", value, ["0"], GOOD), "damaged")


@pytest.mark.parametrize("changed", [{"magic": 5}, {"magic": None}, {"version": 1000}])
def test_another_magic_number_or_version_is_refused(tmp_path, changed):
    refused(legacy(tmp_path / "a.pth", {"w": vector(storage())}, ["0"], GOOD, **changed))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path, protocol):
    state = {"w": torch.arange(5.0), "n": torch.tensor(3)}
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": False}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth", **options)
    found = read_all(tmp_path / "a.pth")
    assert found["epoch"] == 3
    assert torch.equal(found["state_dict"]["w"], state["w"])
    assert torch.equal(found["state_dict"]["n"], state["n"])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_plain_pickle_is_named(tmp_path, protocol):
    for value in ([1, 2], {"w": torch.ones(2)}):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
        error = refused(tmp_path / "a.pkl", "pickle.dump")
        assert "torch.save" in error.hint


def test_a_tar_archive_of_old_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.pth", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert "tar archive" in refused(tmp_path / "a.pth").problem


def test_a_whole_module_with_its_source_is_named(tmp_path):
    path = legacy(tmp_path / "a.pth", Whole(), [], [])
    with pytest.raises(UnsafeCheckpointError) as caught:
        read_all(path)
    assert caught.value.global_name == "torch.nn.modules.linear.Linear"
