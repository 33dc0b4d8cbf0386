"""Files with several networks: nothing is picked silently, every one can be named."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_checks import run_cli
from helpers import tiny_network
from torch import Tensor, nn

from ssn_prune.checkpoint.reader import open_checkpoint
from ssn_prune.checkpoint.tensors import to_torch
from ssn_prune.checkpoint.weights import extract_weights
from ssn_prune.errors import ArgumentError, CheckpointError


def state(value: float = 1.0, **more: Tensor) -> dict[str, Tensor]:
    return {"fc.weight": torch.full((2, 2), float(value)), "fc.bias": torch.zeros(2), **more}


@dataclass(frozen=True)
class Found:
    """What was read: the entry, and the tensors of its state dict."""

    entry: str | None
    tensors: dict[str, Tensor]


def extract(content: Any, entry: str | None = None) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        torch.save(content, Path(folder) / "net.pth")
        with open_checkpoint(Path(folder) / "net.pth") as file:
            weights = extract_weights(file, entry)
            return Found(weights.entry, to_torch(weights.tensors))


ADAM = {"state": {0: {"exp_avg": torch.ones(2), "step": torch.ones(())}}, "param_groups": [{}]}
SEVERAL: dict[str, tuple[Any, list[str]]] = {
    "two": ({"G": state(), "D": state(2)}, ["G", "D"]),
    "beside optimizers": (
        {"G": state(), "optim_g": ADAM, "D": state(2), "optim_d": ADAM, "epoch": 3},
        ["G", "D"],
    ),
    "in wrappers": ({"G": {"state_dict": state()}, "D": {"model": state(2)}}, ["G", "D"]),
    "nested": ({"models": {"G": state(), "D": state(2)}}, ["models.G", "models.D"]),
    "under a usual name": ({"state_dict": {"G": state(), "D": state(2)}}, ["state_dict.G"]),
    "deeply nested": ({"a": {"b": {"G": state(), "D": state(2)}}}, ["a.b.G", "a.b.D"]),
    "with an EMA": ({"G": state(), "D": state(2), "G_ema": state(3)}, ["G", "D", "G_ema"]),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_networks_are_listed(name: str) -> None:
    content, names = SEVERAL[name]
    with pytest.raises(CheckpointError, match="several networks") as caught:
        extract(content)
    assert all(entry in caught.value.problem for entry in names)
    assert f"`weights={names[0]!r}`" in str(caught.value.hint)
    assert extract(content, names[0]).tensors["fc.weight"].mean() == 1  # the hint works


def test_the_hint_names_a_network_with_gates() -> None:
    content = {"D": state(), "G": state(2, **{"n.mean_weight": torch.ones(3)})}
    with pytest.raises(CheckpointError) as caught:
        extract(content)
    assert caught.value.hint == "pass `weights='G'`"


@pytest.mark.parametrize("name", ["generator", "parts.generator"])
def test_the_only_network_is_taken_and_reported(name: str) -> None:
    content: dict[str, Any] = {name.rpartition(".")[2]: state(2), "optimizer": ADAM}
    if "." in name:
        content = {"parts": content, "epoch": 1}
    weights = extract(content)
    assert weights.entry == name
    assert weights.tensors["fc.weight"].mean() == 2


def test_many_networks_are_counted() -> None:
    with pytest.raises(CheckpointError, match=r"net0, .*, net7, and 92 more"):
        extract({f"net{index}": state() for index in range(100)})


def test_an_entry_that_is_not_there_is_answered_with_those_that_are() -> None:
    for entry in ("E", "models.E", "models", "models.G.fc"):
        with pytest.raises(ArgumentError) as caught:
            extract({"models": {"G": state(), "D": state()}}, entry)
        assert "models.G, models.D" in str(caught.value.expected)
        # Without a name the file is refused, so leaving the argument out is no cure.
        assert caught.value.hint == "pass `weights='models.G'` or `weights='models.D'`"


def test_a_file_without_any_network_is_not_called_a_bare_state_dict() -> None:
    with pytest.raises(ArgumentError) as caught:
        extract({"models": [state(), state()]}, "models.0")
    assert "bare" not in str(caught.value)
    assert "state_dict" in str(caught.value.expected)
    assert "torch.save" in str(caught.value.hint)


def test_a_name_with_a_dot_of_its_own() -> None:
    weights = extract({"net.G": state(2), "net": {"G": state(1)}}, "net.G")
    assert weights.tensors["fc.weight"].mean() == 2


def test_no_network_is_found_in_optimizers_and_cycles() -> None:
    cycle: dict[str, Any] = {"optimizer": ADAM}
    cycle["self"] = cycle
    with pytest.raises(CheckpointError, match="holds no weights"):
        extract(cycle)


def test_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "gan.pth"
    generator = tiny_network().state_dict()
    discriminator = nn.Sequential(nn.Linear(2, 2)).state_dict()
    torch.save({"D": discriminator, "G": generator}, path)
    shown = run_cli("inspect", str(path))
    assert shown.exit_code == 1
    assert "--weights G" in shown.stderr
    assert run_cli("inspect", str(path), "--weights", "G").exit_code == 0
