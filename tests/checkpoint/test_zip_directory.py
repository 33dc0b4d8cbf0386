"""Zip archives: what they say is read as Python's zipfile reads it, and their lies are refused."""

import io
import struct
import zipfile

import pytest
import torch

from ssn_prune.checkpoint.input_file import open_input
from ssn_prune.checkpoint.zip_directory import read_directory
from ssn_prune.errors import CheckpointError

CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def archive(members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as target:
        for name, data in members:
            target.writestr(name, data)
    return bytearray(file.getvalue())


PLAIN = [("a/x", b"12345"), ("a/y", b""), ("a/z", bytes(range(256)) * 20)]


@pytest.fixture
def write(tmp_path):
    def write(data):
        (tmp_path / "a.zip").write_bytes(data)
        return tmp_path / "a.zip"

    return write


def contents(path):
    with open_input(path) as file:
        directory = read_directory(file)
        return {name: directory.read(name, 1 << 20) for name in directory.members}


def refused(path, match=None):
    with pytest.raises(CheckpointError, match=match) as caught:
        contents(path)
    assert caught.value.hint
    return caught.value


def field(data, signature, offset, form, value, occurrence=0):
    """Overwrite a field of the n-th record with this signature."""
    place = -1
    for _ in range(occurrence + 1):
        place = data.index(signature, place + 1)
    struct.pack_into(form, data, place + offset, value)
    return data


@pytest.mark.parametrize(
    "members",
    [
        PLAIN,
        [],
        [("é/ü", b"1")],
        [("a/", b""), ("a/b", b"2")],
        [(f"a/{i}", b"x") for i in range(999)],
    ],
    ids=["plain", "none", "unicode", "folder", "many"],
)
def test_members_are_those_of_zipfile(write, members):
    path = write(archive(members))
    assert contents(path) == dict(members)


def test_members_with_sizes_of_64_bits(write):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target, target.open("a/x", "w", force_zip64=True) as member:
        member.write(b"12345")
    assert contents(write(file.getvalue())) == {"a/x": b"12345"}


def test_an_archive_with_a_comment(write):
    data = archive(PLAIN)
    comment = b"PK\x05\x06 is how it ends"
    struct.pack_into("<H", data, len(data) - 2, len(comment))
    assert contents(write(data + comment)) == dict(PLAIN)


def test_members_beyond_four_gigabytes(tmp_path):
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.seek((1 << 32) + 7)  # a hole, which takes no room on the disk
        with zipfile.ZipFile(file, "w") as target:
            target.writestr("a/x", b"12345")
            target.writestr("a/y", b"678")
    assert contents(path) == {"a/x": b"12345", "a/y": b"678"}


def test_the_archives_of_torch(tmp_path):
    torch.save({"w": torch.arange(100.0)}, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as expected:
        names = expected.namelist()
        assert contents(tmp_path / "net.pth") == {name: expected.read(name) for name in names}


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("name", ["a/x", "a/z"])
def test_a_flipped_bit_of_a_member_is_found(write, name, place):
    data = archive(PLAIN)
    member = dict(PLAIN)[name]
    at = data.index(member) + (0 if place == "first" else len(member) - 1)
    data[at] ^= 1
    error = refused(write(data), "checksum")
    assert repr(name) in error.problem


@pytest.mark.parametrize("part", [(0, 5), (1, 4), (2, 2)])
def test_a_part_of_a_member_is_read_only_if_the_whole_is_intact(write, part):
    data = archive(PLAIN)
    with open_input(write(data)) as file:
        storage = read_directory(file).storage("a/x")
        assert storage.read(*part) == b"12345"[slice(*part)]
    data[data.index(b"12345") + 4] ^= 1
    with open_input(write(data)) as file, pytest.raises(CheckpointError, match="checksum"):
        read_directory(file).storage("a/x").read(*part)


def without_checksums(data, count):
    for occurrence in range(count):
        field(data, CENTRAL, 16, "<I", 0, occurrence)
        field(data, LOCAL, 14, "<I", 0, occurrence)
    return data


def test_an_archive_without_any_checksum_is_read_and_says_so(write):
    path = write(without_checksums(archive(PLAIN), len(PLAIN)))
    assert contents(path) == dict(PLAIN)
    with open_input(path) as file:
        assert not read_directory(file).has_checksums
    with open_input(write(archive(PLAIN))) as file:
        assert read_directory(file).has_checksums


def test_one_missing_checksum_is_a_wrong_one(write):
    refused(write(without_checksums(archive(PLAIN), 1)), "checksum")


@pytest.mark.parametrize(
    ("signature", "offset", "form", "value"),
    [
        (CENTRAL, 0, "<I", 7),
        (CENTRAL, 8, "<H", 1),  # encrypted
        (CENTRAL, 8, "<H", 1 << 11),  # other flags than the local header
        (CENTRAL, 10, "<H", 8),  # compressed
        (CENTRAL, 16, "<I", 5),
        (CENTRAL, 20, "<I", 4),
        (CENTRAL, 24, "<I", 4),
        (CENTRAL, 20, "<I", 0xFFFFFFFF),
        (CENTRAL, 24, "<I", 0xFFFFFFF0),
        (CENTRAL, 28, "<H", 2),
        (CENTRAL, 28, "<H", 0xFFFF),
        (CENTRAL, 30, "<H", 4),
        (CENTRAL, 32, "<H", 1),
        (CENTRAL, 34, "<H", 1),
        (CENTRAL, 42, "<I", 1),
        (CENTRAL, 42, "<I", 0xFFFFFFFE),
        (CENTRAL, 46, "<c", b"b"),
        (LOCAL, 0, "<I", 7),
        (LOCAL, 6, "<H", 1),
        (LOCAL, 8, "<H", 8),
        (LOCAL, 14, "<I", 5),
        (LOCAL, 18, "<I", 4),
        (LOCAL, 22, "<I", 4),
        (LOCAL, 26, "<H", 2),
        (LOCAL, 26, "<H", 0xFFFF),
        (LOCAL, 28, "<H", 1),
        (LOCAL, 30, "<c", b"b"),
        (END, 4, "<H", 1),
        (END, 6, "<H", 1),
        (END, 8, "<H", 2),
        (END, 10, "<H", 2),
        (END, 10, "<H", 0xFFFF),
        (END, 12, "<I", 1),
        (END, 12, "<I", 0xFFFFFFFF),
        (END, 16, "<I", 1),
        (END, 16, "<I", 0xFFFFFFFF),
        (END, 20, "<H", 1),
    ],
)
def test_a_false_field_is_refused(write, signature, offset, form, value):
    refused(write(field(archive(PLAIN), signature, offset, form, value)))


def test_a_member_twice_is_refused(write):
    data = archive([("a/x", b"12345"), ("a/q", b"67890")])
    refused(write(bytes(data).replace(b"a/q", b"a/x")), "two members")


def test_members_that_overlap_are_refused(write):
    data = archive([("a/x", b"12345"), ("a/y", b"67890")])
    refused(write(field(data, CENTRAL, 42, "<I", 0, occurrence=1)), "overlaps")


def test_a_member_within_another_is_refused(write):
    inner = archive([("in", b"secret")])
    data = archive([("a/out", bytes(inner)), ("a/in", b"secret")])
    hidden = data.index(bytes(inner))
    refused(write(field(data, CENTRAL, 42, "<I", hidden, occurrence=2)))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused_by_name(write, method):
    data = archive([("a/x", b"0" * 1_000_000)], compression=method)
    error = refused(write(data), "'a/x' is compressed")
    assert "torch.save" in error.hint


@pytest.mark.parametrize("tail", [b"\0", b"x" * 70_000])
def test_bytes_after_the_end_are_refused(write, tail):
    refused(write(bytes(archive(PLAIN)) + tail))


@pytest.mark.parametrize("keep", range(0, 100, 7))
def test_a_cut_archive_is_refused(write, keep):
    data = archive(PLAIN)
    refused(write(data[: 1 + len(data) * keep // 100]), "damaged")


def test_a_large_member_is_not_read_where_a_small_one_is_expected(write):
    with open_input(write(archive(PLAIN))) as file, pytest.raises(CheckpointError, match="large"):
        read_directory(file).read("a/z", 100)
