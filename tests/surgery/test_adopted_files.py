"""Checkpoints of networks with layers of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_layers import HabitualSwitch
from foreign_networks import GUARDS, network, raising
from torch import Tensor, nn

from ssn_prune import ConvertOptions, convert, load_checkpoint
from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.surgery import adoption


class Factory(nn.Module):
    """What a user's factory gives."""

    input_size = (3, 16, 16)

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.net = network(**options)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))


def wrong_factory() -> nn.Module:
    return Factory(order=(1, 0, 2), guard=raising(ValueError, GUARDS["width 16"]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(Factory().state_dict(), tmp_path / "f.pth")
    return tmp_path / "f.pth"


EXACT = ConvertOptions(on_unconverged="exact")


def test_a_loaded_checkpoint_keeps_the_network_as_it_was_built(file: Path) -> None:
    loaded = load_checkpoint(file, arch=f"{__name__}:Factory")
    assert type(loaded.given.net[1]) is HabitualSwitch
    assert loaded.given.net[0].weight is loaded.model.net[0].weight
    report = convert(loaded, file.with_suffix(".onnx"), EXACT)
    found = report.verification.adoption
    assert found.compared
    assert found.precision == "float64"
    assert report.verification.passed


def test_registered_architectures_have_no_other_code(tmp_path: Path) -> None:
    from ssn_prune.architectures.digits import DigitsNet

    torch.manual_seed(0)
    torch.save(DigitsNet().state_dict(), tmp_path / "d.pth")
    loaded = load_checkpoint(tmp_path / "d.pth", arch="ssn_prune_digits")
    assert loaded.given is None
    report = convert(loaded, tmp_path / "d.onnx", EXACT)
    assert report.verification.adoption.reason == "own_layers"


def test_a_file_is_compared_with_the_given_code(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the adoption check were blind, the file must agree with the user's network."""
    loaded = load_checkpoint(file, arch=f"{__name__}:wrong_factory")
    with pytest.raises(UnsupportedLayerError, match="computes something else"):
        convert(loaded, file.with_suffix(".onnx"), EXACT)
    monkeypatch.setattr(adoption, "float64_bound", lambda _error: float("inf"))
    with pytest.raises(Exception, match="does not give the original's outputs"):
        convert(loaded, file.with_suffix(".onnx"), EXACT)
    assert not file.with_suffix(".onnx").exists()


def test_rounded_gates_are_compared_with_the_rounded_network(file: Path) -> None:
    loaded = load_checkpoint(file, arch=f"{__name__}:Factory")
    report = convert(loaded, file.with_suffix(".onnx"), ConvertOptions(on_unconverged="argmax"))
    assert report.rounded.max_error > 0
    assert report.verification.adoption.compared  # the soft gates, as they were built
    assert report.verification.passed
