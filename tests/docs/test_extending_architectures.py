"""docs/extending.md: another architecture is a file and a row."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from documented_code import code_blocks
from helpers import one_hot_gates

import ssn_prune
from ssn_prune.architectures import registry
from ssn_prune.errors import ArchitectureError
from ssn_prune.nn.switchable import SwitchableNorm

MODULE = "ssn_prune.architectures.plain_net"
FILE, ROW, TEST = code_blocks("extending.md", "Another architecture")


@pytest.fixture
def with_row(tmp_path, monkeypatch):
    """Install the documented file and row."""
    path = tmp_path / "plain_net.py"
    path.write_text(FILE)
    spec = importlib.util.spec_from_file_location(MODULE, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, MODULE, module)
    spec.loader.exec_module(module)
    imported, row = ROW.split("\n\n")
    names = vars(registry).copy()
    exec(imported, names)  # the page itself is under test
    monkeypatch.setattr(registry, "NETWORKS", (*registry.NETWORKS, *eval(f"({row})", names)))
    return module


def trained(network):
    torch.manual_seed(0)
    for index, layer in enumerate(m for m in network.modules() if isinstance(m, SwitchableNorm)):
        one_hot_gates(layer, index % 3, (index + 1) % 3)
    return network.eval()


def test_a_file_and_a_row_add_an_architecture_that_checkpoints_may_name(with_row, tmp_path):
    network = trained(with_row.PlainNet(num_classes=7))
    exec(TEST, {"torch": torch, "ssn_prune": ssn_prune, "network": network, "folder": tmp_path})
    assert (tmp_path / "net.onnx").exists()


def test_without_the_row_the_name_is_refused():
    with pytest.raises(ArchitectureError, match="unknown architecture 'plain_net'"):
        registry.find_architecture("plain_net", trusted=True)
