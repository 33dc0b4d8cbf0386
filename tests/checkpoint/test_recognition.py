"""Files of other kinds are recognised by name, with a way to the weights that works."""

import gzip
import io
import warnings
import zipfile

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save_model
from torch import nn

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.errors import CheckpointError, UnsafeCheckpointError


def refusal(path):
    with pytest.raises(CheckpointError) as caught, open_checkpoint(path):
        pass
    assert "damaged" not in caught.value.problem
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint
    return caught.value


def keys(path):
    with open_checkpoint(path) as file:
        return set(file.content.text_items())


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript(tmp_path):
    path = str(tmp_path / "net.pt")
    torch.jit.save(torch.jit.script(nn.Linear(2, 1)), path)
    error = refusal(tmp_path / "net.pt")
    assert "TorchScript" in error.problem
    assert "torch.jit.load(path)" in error.hint
    torch.save(torch.jit.load(path).state_dict(), tmp_path / "weights.pth")
    assert keys(tmp_path / "weights.pth") == {"weight", "bias"}


def test_exported_program(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(nn.Linear(2, 1), (torch.ones(1, 2),)), path)
    error = refusal(path)
    assert "exported program" in error.problem
    assert "torch.export.load(path)" in error.hint
    torch.save(torch.export.load(path).state_dict, tmp_path / "weights.pth")
    assert keys(tmp_path / "weights.pth") == {"weight", "bias"}


def test_whole_network(tmp_path):
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save({"model": nn.Linear(1, 1)}, path, _use_new_zipfile_serialization=zipped)
        error = refusal(path)
        assert isinstance(error, UnsafeCheckpointError)
        assert "whole network" in error.problem
        assert error.global_name == "torch.nn.modules.linear.Linear"


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name in names:
            target.writestr(name, b"1")
    return file.getvalue()


def numpy_bytes(save, *arguments):
    file = io.BytesIO()
    save(file, *arguments)
    return file.getvalue()


def onnx_bytes():
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [])
    file = io.BytesIO()
    save_model(helper.make_model(graph, producer_name="somebody"), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n  <HTML>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (numpy_bytes(np.save, np.ones(3)), "NumPy array"),
        (numpy_bytes(np.savez, np.ones(3)), "NumPy arrays"),
        (gzip.compress(b"weights", mtime=0), "gzip"),
        (b"GGUF" + bytes(50), "GGUF"),
        (onnx_bytes(), "ONNX"),
        (zipped("readme.txt"), "zip archive with 'readme.txt'"),
        (zipped("net/model.pth"), "zip archive"),
        (zipped("net/.data/extern_modules", "net/data.pkl"), "torch.package"),
        (zipped("config.json", "model.weights.h5"), "Keras"),
    ],
)
def test_other_files(tmp_path, data, named):
    (tmp_path / "net.pth").write_bytes(data)
    assert named in refusal(tmp_path / "net.pth").problem


def test_a_zip_archive_around_a_checkpoint_names_it(tmp_path):
    (tmp_path / "net.pth").write_bytes(zipped("notes.txt", "run/best.pth"))
    assert "'run/best.pth'" in refusal(tmp_path / "net.pth").hint


def test_what_torch_writes_as_onnx(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            nn.Linear(2, 1), (torch.ones(1, 2),), tmp_path / "net.onnx", dynamo=True, verbose=False
        )
    assert "ONNX" in refusal(tmp_path / "net.onnx").problem
