"""Results print as one short line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import one_hot_gates, tiny_network
from torch import nn

from ssn_prune import (
    RadiusSchedule,
    convert_to_ssn,
    freeze_selected,
    load_checkpoint,
    prune,
    select,
)
from ssn_prune.conversion import convert


@pytest.fixture
def conv_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm(5))


def test_results_of_a_conversion(tmp_path: Path) -> None:
    torch.save(tiny_network().state_dict(), tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth", arch="helpers:TinyNetwork")
    assert repr(loaded) == "<LoadedCheckpoint net.pth: TinyNetwork, inputs (1, 8, 8)>"
    chosen = "<Selection of 2 layers: 1 IN/BN, 1 BN/BN>"
    assert repr(select(loaded.model)) == chosen
    result = prune(loaded.model, torch.randn(2, 1, 8, 8))
    assert repr(result.plan) == "<Plan of 2 layers, 2 with a fold>"
    assert repr(result) == f"<PruneResult of TinyNetwork: {chosen}, {result.plan}>"
    report = convert(loaded, tmp_path / "net.onnx")
    assert repr(report).startswith("<ConversionReport of net.pth: 2 layers, ")
    assert repr(report).endswith(" ONNX nodes, checks passed>")


def test_results_of_training(conv_net: nn.Module) -> None:
    swapped = convert_to_ssn(conv_net)
    assert repr(swapped) == "<SwapResult of Sequential: 1 of 2 norm layers swapped>"
    schedule = RadiusSchedule(swapped.model, total_steps=10)
    assert repr(schedule) == "<RadiusSchedule: 0 of 10 steps, radius 0.0000>"
    for _ in range(10):
        schedule.step()
    assert repr(schedule) == "<RadiusSchedule: 10 of 10 steps, radius 0.8165, frozen>"
    model = tiny_network()
    one_hot_gates(model.sn2, 1, 1)
    frozen = freeze_selected(model)
    assert repr(frozen) == "<FrozenSelection of TinyNetwork: 2 layers>"
