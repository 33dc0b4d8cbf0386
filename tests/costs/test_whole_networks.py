"""How far the sum of costs is from whole networks (``benchmarks/whole_networks.py``)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from costs_samples import cheap_costs
from placed_networks import Residual, Small

from ssn_prune.costs.records import FREE, CostOptions
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.selection import select

PATH = Path(__file__).parents[2] / "benchmarks" / "whole_networks.py"


@pytest.fixture
def whole_networks(monkeypatch):
    spec = importlib.util.spec_from_file_location("whole_networks", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


IN = NormalizerPair(Normalizer.IN, Normalizer.IN)


def test_whole_networks_are_compared_with_the_sum(whole_networks):
    costs = cheap_costs(["once", "twice"])
    chosen = {"once": IN, "twice": NormalizerPair(Normalizer.BN, Normalizer.IN)}
    free = dict.fromkeys(chosen, FREE)
    inputs = (torch.randn(2, *Small.input_size),)
    found = whole_networks.additive_error(
        Small().eval(), inputs, costs, [chosen, free], CostOptions(runs=3)
    )
    first, second = found.selections
    assert second.predicted_ms == found.norm_free_ms
    assert first.predicted_ms == pytest.approx(found.norm_free_ms + 1.0 + 7.0)
    assert 0 < first.measured_ms < 8  # in no way what is made up
    errors = [s.predicted_ms - s.measured_ms for s in found.selections]
    assert found.largest == pytest.approx(max(map(abs, errors)) / found.norm_free_ms)
    assert found.mean == pytest.approx(sum(errors) / 2 / found.norm_free_ms)


def test_a_network_takes_the_pairs_that_it_is_given(whole_networks):
    model = Residual().eval()
    chosen = whole_networks.with_pairs(model, {"stem": IN, "inner": FREE})
    pairs = {layer.name: layer.pair for layer in select(chosen).layers}
    assert pairs["stem"] == IN
    assert pairs["inner"] == FREE
    assert not any(layer.converged for layer in select(model).layers)
