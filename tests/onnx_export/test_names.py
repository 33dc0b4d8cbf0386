"""The names of a file's inputs and outputs are those that were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import tiny_network
from torch import Tensor, nn

from ssn_prune import ArgumentError, ExportOptions, export_onnx


class Heads(nn.Module):
    """Two inputs, two outputs, and values that bear the names that are asked for."""

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        total = x + y
        return {"total": total, "scores": torch.relu(total) * 2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "net.pth"
    torch.save(tiny_network().state_dict(), path)
    return path


def exported(path: Path, **names: tuple[str, ...]) -> onnx.ModelProto:
    x = (torch.randn(2, 3), torch.randn(2, 3))
    export_onnx(Heads(), x, path, options=ExportOptions(**names), force=True)
    return onnx.load(path)


def test_names_are_those_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    asked = {"input_names": ("images", "mask"), "output_names": ("add", "mul")}
    graph = exported(path, **asked).graph
    assert [value.name for value in graph.input] == ["images", "mask"]
    assert [value.name for value in graph.output] == ["add", "mul"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {"images": np.ones((1, 3), np.float32), "mask": np.ones((1, 3), np.float32)}
    total, scores = session.run(["add", "mul"], feed)
    assert (total == 2).all()
    assert (scores == 4).all()


def test_without_them_outputs_have_the_keys_of_the_results(tmp_path: Path) -> None:
    graph = exported(tmp_path / "net.onnx").graph
    assert [value.name for value in graph.output] == ["total", "scores"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"input_names": ("a",)}, "2 inputs, not 1"),
        ({"output_names": ("a", "b", "c")}, "2 outputs, not 3"),
        ({"input_names": ("a", "a")}, "same name"),
        ({"input_names": ("a", "b"), "output_names": ("c", "a")}, "same name"),
        ({"output_names": ("", "b")}, "empty"),
        ({"input_names": ("a", "total")}, "both be called 'total'"),
        ({"output_names": ("input", "b")}, "both be called 'input'"),
        ({"input_names": ("a\x1b[2J", "b")}, "cannot be printed"),
    ],
)
def test_names_that_do_not_fit(
    names: dict[str, tuple[str, ...]], found: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=found):
        exported(tmp_path / "net.onnx", **names)
    assert not list(tmp_path.iterdir())


def test_the_command_names_them_and_says_what_the_file_takes(
    checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ["convert", str(checkpoint), *ARCH, "-o", str(tmp_path / "net.onnx")]
    told = run_cli(*arguments, "--input-names", "image", "--output-names", "logits")
    assert told.exit_code == 0, told.stderr
    text = " ".join(told.stdout.split())
    size = [str(value) for value in tiny_network().input_size]
    assert f"input image float32 (batch, {', '.join(size)})" in text
    assert "output logits float32 (batch, " in text
    assert "for portable, opset 18, IR 8" in text
    assert "weights the whole file of net.pth" in text
    lines = told.stdout.splitlines()
    assert lines[-1].startswith("wrote ")
    verified = run_cli("verify", str(checkpoint), str(tmp_path / "net.onnx"), *ARCH)
    assert verified.exit_code == 0, verified.stderr


def test_the_command_refuses_a_wrong_number(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    arguments = ["convert", str(checkpoint), *ARCH, "-o", str(path), "--input-names", "a,b"]
    message, _ = fails(tmp_path, 2, *arguments)
    assert "leave --input-names out, or give 1" in message
