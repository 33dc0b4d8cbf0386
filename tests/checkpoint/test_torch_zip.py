"""The zip archives of torch.save: order of bytes, storages, and what does not fit together."""

import io
import struct
import zipfile

import pytest
import torch
from stored_files import read_all

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.errors import CheckpointError

STATE = {"w": torch.arange(6.0).reshape(2, 3), "h": torch.arange(3, dtype=torch.bfloat16)}


def members(content=STATE, **options):
    """The members of an archive by name; an entry set to None is left out."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, parts):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def refused(path):
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_all(path)
    return caught.value


def test_bytes_in_the_other_order(tmp_path):
    parts = members()
    swapped = struct.pack(">6f", *struct.unpack("<6f", parts["archive/data/0"]))
    halves = struct.pack(">3H", *struct.unpack("<3H", parts["archive/data/1"]))
    changed = {"archive/data/0": swapped, "archive/data/1": halves, "archive/byteorder": b"big"}
    path = write(tmp_path / "net.pth", parts | changed)
    with open_checkpoint(path) as file:
        assert file.content.get("w").numbers() == [0, 1, 2, 3, 4, 5]
        assert file.content.get("h").numbers() == [0, 1, 2]
    found = read_all(path)
    for key, value in STATE.items():
        assert torch.equal(found[key], value)


def test_one_storage_in_the_other_order_is_swapped_once(tmp_path):
    whole = torch.arange(6.0)
    parts = members({"all": whole, "rest": whole[2:]})
    swapped = struct.pack(">6f", *struct.unpack("<6f", parts["archive/data/0"]))
    changed = {"archive/data/0": swapped, "archive/byteorder": b"big"}
    path = write(tmp_path / "net.pth", parts | changed)
    found = read_all(path)
    assert found["all"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["rest"].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("order", [b"", b"middle", b"little\n", b"x" * 20])
def test_an_unknown_order_of_bytes_is_refused(tmp_path, order):
    path = write(tmp_path / "net.pth", members() | {"archive/byteorder": order})
    with pytest.raises(CheckpointError):
        read_all(path)


@pytest.mark.parametrize(
    "left_out",
    [".format_version", ".storage_alignment", "byteorder", "version", ".data/serialization_id"],
)
def test_files_of_older_versions_lack_some_members(tmp_path, left_out):
    parts = members()
    del parts[f"archive/{left_out}"]
    found = read_all(write(tmp_path / "net.pth", parts))
    assert torch.equal(found["w"], STATE["w"])


@pytest.mark.parametrize("name", ["archive/data/0", "archive/data/1"])
@pytest.mark.parametrize("change", [None, -1, 1])
def test_a_storage_that_is_missing_or_of_another_size_is_refused(tmp_path, name, change):
    parts = members()
    data = parts.pop(name)
    if change is not None:
        parts[name] = data[:change] if change < 0 else data + bytes(change)
    refused(write(tmp_path / "net.pth", parts))


def test_two_checkpoints_in_one_archive_are_refused(tmp_path):
    parts = members()
    refused(write(tmp_path / "net.pth", parts | {"other/data.pkl": parts["archive/data.pkl"]}))


def test_bytes_after_the_pickle_are_refused(tmp_path):
    parts = members()
    parts["archive/data.pkl"] += b"."
    refused(write(tmp_path / "net.pth", parts))


@pytest.mark.parametrize("root", ["weights", "модель", "a b.c"])
def test_the_folder_may_have_any_name(tmp_path, root):
    parts = {name.replace("archive", root, 1): data for name, data in members().items()}
    assert read_all(write(tmp_path / "net.pth", parts)).keys() == STATE.keys()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path, protocol):
    torch.save({"state": STATE, "epoch": 5}, tmp_path / "net.pth", pickle_protocol=protocol)
    found = read_all(tmp_path / "net.pth")
    assert found["epoch"] == 5
    for key, value in STATE.items():
        assert torch.equal(found["state"][key], value)


@pytest.mark.parametrize("byte", range(0, 24, 5))
@pytest.mark.parametrize("bit", [0, 7])
def test_a_changed_bit_of_a_tensor_is_found(tmp_path, byte, bit):
    torch.save(STATE, tmp_path / "net.pth")
    data = bytearray((tmp_path / "net.pth").read_bytes())
    place = data.index(struct.pack("<6f", *range(6)))
    data[place + byte] ^= 1 << bit
    (tmp_path / "net.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum of 'net/data/0'"):
        read_all(tmp_path / "net.pth")


def test_without_checksums_a_file_is_read_and_says_so(tmp_path):
    checked = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "net.pth")
    finally:
        torch.serialization.set_crc32_options(checked)
    with open_checkpoint(tmp_path / "net.pth") as file:
        assert not file.has_checksums
    assert torch.equal(read_all(tmp_path / "net.pth")["w"], STATE["w"])
