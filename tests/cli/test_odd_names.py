"""Names out of files and of files are shown, whatever they are made of."""

import os

import onnx
import pytest
import torch
from cli_checks import run_cli
from helpers import tiny_network
from onnx import helper

ODD = ["[red]net[bold]", os.fsdecode(b"net\xff"), "net\x1b[31m", "net\nwork", "net\u202e"]


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("name", ODD)
def test_a_file_with_an_odd_name(tmp_path, name, options):
    path = tmp_path / f"{name}.pth"
    with path.open("wb") as file:
        torch.save(tiny_network().state_dict(), file)
    assert run_cli("inspect", str(path), *options).exit_code == 0
    path.write_bytes(b"not a checkpoint")
    result = run_cli("inspect", str(path), *options)
    assert result.exit_code == 1
    assert "is not a checkpoint" in result.stderr
    assert "\x1b" not in result.stderr
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("name", ["[/b]", "[red]", ":skull:", "a\x00b", "\x1b[31m", "a\u202eb"])
def test_an_architecture_with_an_odd_name(tmp_path, name, options):
    content = {"state_dict": tiny_network().state_dict(), "arch": name, "note": name}
    torch.save(content, tmp_path / "net.pth")
    result = run_cli("inspect", str(tmp_path / "net.pth"), *options)
    assert result.exit_code == 0
    assert (name in result.stdout) == name.isprintable()


def relu() -> bytes:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.mark.parametrize("name", ODD)
def test_an_onnx_file_with_an_odd_name(tmp_path, name):
    path = os.fsencode(tmp_path / f"{name}.onnx")
    with open(path, "wb") as file:
        file.write(relu())
    result = run_cli("bench", os.fsdecode(path), "--runs", "2", "--batch", "4")
    assert "\x1b" not in result.output
    if "\udcff" not in name:
        assert result.exit_code == 0, result.stderr
    else:
        assert "a path in Unicode" in result.stderr
