"""Files that are not regular, files that change while they are read, and large files."""

from __future__ import annotations

import os
import socket

import pytest
import torch
from pickle_assembly import program
from reading_session import ReadingSession
from sound_content import checkpoint
from zip_assembly import zipped

from ssn_prune import CheckpointError, load_checkpoint
from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.weights import extract_weights


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    sample = tmp_path_factory.mktemp("sample") / "a.pth"
    sample.write_bytes(zipped())
    with ReadingSession(tmp_path_factory.mktemp("worker"), [sample]) as session:
        yield session


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def loop(path):
    path.symlink_to(path)


def link_to(target):
    return lambda path: path.symlink_to(target)


SPECIAL = {
    "a pipe": fifo,
    "a socket": unix_socket,
    "a folder": lambda path: path.mkdir(),
    "a link to itself": loop,
    "a link to nothing": link_to("nowhere"),
    "endless zeros": link_to("/dev/zero"),
    "nothing at all": link_to("/dev/null"),
    "random bytes": link_to("/dev/urandom"),
    "a terminal": link_to("/dev/tty"),
    "memory of the process": link_to("/proc/self/mem"),
    "a file of unknown length": link_to("/proc/self/status"),
    "standard input": link_to("/dev/stdin"),
}


@pytest.mark.parametrize("action", ["load", "inspect", "json"])
@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_regular_file_is_refused_at_once(session, tmp_path, kind, action):
    SPECIAL[kind](tmp_path / "net.pth")
    reading = session.read(tmp_path / "net.pth", action)
    assert (reading.kind, reading.problems) == ("refused", ())


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "x/" * 3000, "", "\udcff"], ids=ascii)
def test_names_that_no_file_has(tmp_path, name):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(f"{tmp_path}/{name}")
    assert caught.value.hint


def test_a_pipe_behind_a_link_to_a_checkpoint_is_read(session, tmp_path):
    (tmp_path / "net.pth").write_bytes(zipped())
    (tmp_path / "link.pth").symlink_to("net.pth")
    assert session.read(tmp_path / "link.pth").kind == "read"


def other_numbers(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"data/1") + 6] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def cut(path):
    os.truncate(path, 100)


def grown(path):
    with path.open("ab") as file:
        file.write(b"x")


CHANGES = {"other numbers": other_numbers, "cut": cut, "grown": grown}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_two_looks_is_refused(tmp_path, change):
    path = tmp_path / "net.pth"
    path.write_bytes(zipped())
    os.utime(path, (0, 0))

    def read_and_change() -> None:
        with open_checkpoint(path) as file:
            weights = extract_weights(file)
            CHANGES[change](path)
            to_torch(weights.tensors)

    with pytest.raises(CheckpointError, match=r"changed|damaged"):
        read_and_change()


def test_another_file_under_the_same_name_does_not_matter(tmp_path):
    """The file that was opened is read to its end."""
    path = tmp_path / "net.pth"
    path.write_bytes(zipped())
    with open_checkpoint(path) as file:
        weights = extract_weights(file)
        path.rename(tmp_path / "old.pth")
        path.write_bytes(zipped(program(checkpoint({}))) + b"another")
        read = to_torch(weights.tensors)
    assert read["n.weight"].tolist() == [0.5, 1.0, 1.5, -2.0]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_large_file_takes_the_memory_of_its_tensors(session, tmp_path, legacy):
    size = 256 << 20
    tensors = {str(index): torch.full((size // 32,), 0.5) for index in range(8)}
    path = tmp_path / "net.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    reading = session.read(path, data=size)
    assert (reading.kind, reading.problems) == ("refused", ())  # of another network
    assert "does not fit" in reading.text
    assert reading.memory < 1.2 * size + (200 << 20)
    assert session.read(path, "inspect").memory < 64 << 20
