"""A file is opened once, is regular, and stays as it is while it is read."""

import hashlib
import os
import threading

import pytest
import torch

from ssn_prune.checkpoint.input_file import open_input
from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.weights import extract_weights
from ssn_prune.errors import CheckpointError


def refusal(path):
    with pytest.raises(CheckpointError) as caught, open_checkpoint(path):
        pass
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint
    return caught.value


@pytest.fixture
def saved(tmp_path):
    torch.save({"w": torch.arange(1000.0), "b": torch.ones(3)}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "net.pth")
    assert refusal(tmp_path / "net.pth").found == "a pipe, socket or device"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(tmp_path, device):
    (tmp_path / "net.pth").symlink_to(device)
    assert refusal(tmp_path / "net.pth").found == "a pipe, socket or device"


def test_a_link_to_a_file_is_followed(tmp_path, saved):
    (tmp_path / "latest.pth").symlink_to(saved)
    with open_checkpoint(tmp_path / "latest.pth") as file:
        assert file.path.name == "latest.pth"


@pytest.mark.parametrize("name", ["net\0.pth", "x" * 300, "net.pth/inside"])
def test_an_impossible_name_is_refused(tmp_path, saved, name):
    refusal(tmp_path / name)


def touched(path):
    os.utime(path, ns=(0, 12345))


def grown(path):
    with path.open("ab") as file:
        file.write(b"more")


def cut(path):
    os.truncate(path, 100)


@pytest.mark.parametrize("change", [touched, grown, cut])
def test_a_file_that_changes_between_its_directory_and_its_tensors_is_refused(saved, change):
    with pytest.raises(CheckpointError, match="changed while it was read"):
        read_with(saved, change)


@pytest.mark.parametrize("change", [touched, grown, cut])
def test_a_file_that_changes_after_the_last_read_is_refused(saved, change):
    with pytest.raises(CheckpointError, match="changed while it was read"), open_input(saved):
        change(saved)


def read_with(path, change):
    with open_checkpoint(path) as file:
        tensors = extract_weights(file).tensors
        change(path)
        return to_torch(tensors)


def test_a_file_that_is_replaced_while_it_is_open_is_read_as_it_was(tmp_path, saved):
    torch.save({"w": torch.zeros(1000)}, tmp_path / "other.pth")
    tensors = read_with(saved, lambda path: os.replace(tmp_path / "other.pth", path))
    assert torch.equal(tensors["w"], torch.arange(1000.0))


def test_tensors_outlive_the_file(saved):
    tensors = read_with(saved, lambda _path: None)
    saved.write_bytes(bytes(saved.stat().st_size))
    assert torch.equal(tensors["w"], torch.arange(1000.0))


def test_the_hash_is_that_of_the_whole_file(saved):
    grown(saved)
    with open_input(saved) as file:
        assert file.sha256() == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_threads_read_independently_and_leave_torch_as_it_was(tmp_path):
    allowed = set(torch.serialization.get_safe_globals())
    wrong = []

    def read(number):
        path = tmp_path / f"{number}.pth"
        torch.save({"w": torch.full((50,), float(number)), "b": torch.zeros(1)}, path)
        for _ in range(20):
            tensors = read_with(path, lambda _path: None)
            if not torch.equal(tensors["w"], torch.full((50,), float(number))):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert set(torch.serialization.get_safe_globals()) == allowed
