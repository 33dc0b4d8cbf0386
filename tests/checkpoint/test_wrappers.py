"""Keys with a wrapper's part in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import tiny_network
from torch import nn

from ssn_prune import load_checkpoint, select
from ssn_prune.checkpoint.prefixes import strip_prefix
from ssn_prune.checkpoint.wrappers import without_wrappers
from ssn_prune.errors import KeyMismatchError


def renamed(part: str, *layers: str) -> dict[str, torch.Tensor]:
    """The state of the tiny network with some of its layers wrapped."""
    return {
        key.replace(".", f".{part}.", 1) if key.partition(".")[0] in layers else key: value
        for key, value in tiny_network().state_dict().items()
    }


PARTS = ["_orig_mod", "module", "_orig_mod.module", "module._orig_mod", "_fsdp_wrapped_module"]
TINY = "helpers:TinyNetwork"


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
@pytest.mark.parametrize("part", PARTS)
def test_wrapped_layers_are_found(part: str, prefix: str, tmp_path: Path) -> None:
    state = {prefix + key: value for key, value in renamed(part, "conv1", "sn2").items()}
    torch.save(state, tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch=TINY)
    for key, value in tiny_network().state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)


def test_compiled_layers_as_torch_saves_them(tmp_path: Path) -> None:
    model = tiny_network()
    model.conv1 = torch.compile(model.conv1, backend="eager")
    model.sn2 = nn.DataParallel(torch.compile(model.sn2, backend="eager"))
    torch.save(model.state_dict(), tmp_path / "net.pth")
    assert any("._orig_mod." in key for key in model.state_dict())
    loaded = load_checkpoint(tmp_path / "net.pth", arch=TINY)
    assert torch.equal(loaded.model.conv1.weight, model.conv1.weight)


def test_inspect_takes_off_what_no_network_has() -> None:
    stripped = strip_prefix(renamed("_orig_mod", "sn1", "sn2"), None, None)
    assert select(stripped.tensors) == select(tiny_network().state_dict())
    kept = strip_prefix(renamed("module", "sn1"), None, None)
    assert "sn1.module.weight" in kept.tensors  # it may be the network's own


def test_an_explicit_prefix_comes_first() -> None:
    state = {"net." + key: value for key, value in renamed("_orig_mod", "sn1").items()}
    stripped = strip_prefix(state | {"other.x": torch.ones(1)}, tiny_network().state_dict(), "net")
    assert stripped.tensors.keys() == tiny_network().state_dict().keys()
    assert stripped.ignored == ("other.x",)


def test_a_network_with_such_a_name_of_its_own_keeps_it() -> None:
    state = {"a.module.weight": 1, "b._orig_mod.weight": 2, "c.module.bias": 3}
    expected = {"a.module.weight": 0, "b._orig_mod.weight": 0, "c.bias": 0}
    assert without_wrappers(state, expected) == {
        "a.module.weight": 1,
        "b._orig_mod.weight": 2,
        "c.bias": 3,
    }


@pytest.mark.parametrize("order", [1, -1])
def test_two_keys_never_become_one(order: int, tmp_path: Path) -> None:
    items = [("a.weight", 1), ("a._orig_mod.weight", 2)][::order]
    assert without_wrappers(dict(items), None) == dict(items)
    state = tiny_network().state_dict()
    state["conv1._orig_mod.weight"] = state["conv1.weight"] + 1
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(KeyMismatchError, match="_orig_mod"):
        load_checkpoint(tmp_path / "net.pth", arch=TINY)
