"""``verify`` with another checkpoint than the file was made from, or with the two exchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
import torch
from cli_checks import ARCH, fails, run_cli
from helpers import TinyNetwork, one_hot_gates, tiny_network
from torch import nn

from ssn_prune.cli.exit_codes import OK, USAGE, VERIFICATION


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``net.pth`` and the ONNX file made from it, with the three classes of both."""
    folder = tmp_path_factory.mktemp("converted")
    torch.save(tiny_network().state_dict(), folder / "net.pth")
    found = run_cli("convert", str(folder / "net.pth"), *ARCH, "-o", str(folder / "net.onnx"))
    assert found.exit_code == OK, found.stderr
    return folder


@pytest.fixture
def folder(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(converted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def other_classes() -> nn.Module:
    model = TinyNetwork(num_classes=5)
    one_hot_gates(model.sn1, 0, 2)
    one_hot_gates(model.sn2, 2, 2)
    return model.eval()


@pytest.mark.parametrize("other", [tiny_network(seed=1), other_classes()])
def test_the_checkpoint_that_the_file_was_made_from_is_named(
    folder: Path, other: nn.Module
) -> None:
    torch.save(other.state_dict(), "other.pth")
    text, error = fails(folder, VERIFICATION, "verify", "other.pth", "net.onnx", *ARCH)
    assert "net.onnx was made from net.pth, not from this other.pth" in text
    assert "report" not in text
    assert "verify with net.pth" in error["hint"]


def test_the_same_weights_in_another_file_pass(folder: Path) -> None:
    torch.save({"state_dict": torch.load("net.pth", weights_only=True)}, "again.pth")
    assert run_cli("verify", "again.pth", "net.onnx", *ARCH).exit_code == OK


def test_a_file_that_was_changed_is_not_another_checkpoint(folder: Path) -> None:
    model = onnx.load("net.onnx")
    (bias,) = [entry for entry in model.graph.initializer if entry.name == "fc.bias"]
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, "fc.bias"))
    onnx.save(model, "net.onnx")
    text, error = fails(folder, VERIFICATION, "verify", "net.pth", "net.onnx", *ARCH)
    assert "does not give the original's outputs" in text
    assert "whether the file was changed" in error["hint"]
    assert "report" not in error["hint"]


def test_the_wrong_way_round_is_a_usage_error(folder: Path) -> None:
    text, error = fails(folder, USAGE, "verify", "net.onnx", "net.pth", *ARCH)
    assert "wrong way round" in text
    assert error["hint"] == "with the same options: ssn-prune verify net.pth net.onnx"
