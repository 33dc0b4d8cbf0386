"""measure_costs: what is measured, how often, and what the numbers mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from placed_networks import Residual
from torch import nn

from ssn_prune.costs import measuring
from ssn_prune.costs.measuring import measure_network_costs
from ssn_prune.costs.records import FREE, CostOptions
from ssn_prune.errors import ArgumentError
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair

X = (torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)),)
IN = NormalizerPair(Normalizer.IN, Normalizer.IN)


@pytest.fixture(scope="module")
def model():
    return Residual().eval()


@pytest.fixture(scope="module")
def measured(model, tmp_path_factory):
    """Really measured, and the folder with the times."""
    folder = tmp_path_factory.mktemp("cache")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    costs = measure_network_costs(model, X, CostOptions(runs=3), cache=folder)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return costs, folder


@pytest.fixture
def counted(monkeypatch):
    """Times that are made up: 1 ms and a tenth for every step from BN/BN; the places measured."""
    seen = []

    def made_up(process, files, batch, options, provider):
        seen.append((batch, tuple(files)))
        return {pair: 1.0 + (FREE.mean - pair.mean) + 0.1 * (FREE.var - pair.var) for pair in files}

    def no_files(wanted, folder, *, target, static):
        return {place: {pair: folder / str(pair) for pair in wanted[place]} for place in wanted}

    monkeypatch.setattr(measuring, "export_places", no_files)
    monkeypatch.setattr(measuring, "time_place", made_up)
    monkeypatch.setattr(measuring, "_norm_free", lambda *_: None)
    return seen


def test_every_layer_has_its_pairs(measured):
    costs, _ = measured
    assert [shape.layer for shape in costs.shapes] == ["stem", "inner", "outer", "alone", "twice"]
    assert costs.pairs("stem") == ALL_PAIRS
    assert list(map(str, costs.pairs("twice"))) == ["IN/IN", "LN/LN", "BN/BN"]
    assert costs.shapes[-1].inputs == ((1, 8, 8, 8), (1, 8, 4, 4))
    assert costs.input_sizes == ((3, 16, 16),)
    assert costs.norm_free_ms is not None
    assert costs.norm_free_ms > 0
    assert costs.runtime.startswith("ONNX Runtime 1.")


def test_bn_costs_nothing_and_nothing_costs_less(measured):
    costs, _ = measured
    for entry in costs.layers:
        assert costs.of(entry.layer, entry.pair) >= 0
        if entry.pair == FREE:
            assert entry.milliseconds == 0
    assert costs.of("outer", FREE) == 0
    assert costs.of("stem", NormalizerPair(Normalizer.LN, Normalizer.LN)) > 0


def test_known_times_are_not_measured_again(model, measured, monkeypatch):
    costs, folder = measured
    monkeypatch.setattr(measuring, "export_places", None)  # would fail
    monkeypatch.setattr(measuring, "time_place", None)
    monkeypatch.setattr(measuring, "_norm_free", lambda *_: None)
    again = measure_network_costs(model, X, CostOptions(runs=3), cache=folder)
    assert again.layers == costs.layers


def test_only_what_is_damaged_is_measured_again(model, measured, counted):
    _, folder = measured
    files = sorted(folder.glob("*.json"))
    assert len(files) == 6  # one a place
    kept = files[0].read_text()
    files[0].write_text(kept[:-9])
    measure_network_costs(model, X, CostOptions(runs=3), cache=folder)
    assert len(counted) == 1


def test_times_are_those_of_one_version_and_number_of_runs(model, counted, tmp_path, monkeypatch):
    def measured_now(runs):
        counted.clear()
        measure_network_costs(model, X, CostOptions(runs=runs), cache=tmp_path)
        return len(counted)

    assert [measured_now(runs) for runs in (3, 3, 40)] == [6, 0, 6]
    monkeypatch.setattr(measuring, "__version__", "0.1.0")
    assert measured_now(3) == 6


def test_equal_places_are_measured_once_and_calls_add_up(counted):
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(8, 8, size, padding="same") for size in (1, 3))
            self.norms = nn.ModuleList((SSN2d(8), SSN2d(8)))
            self.often = SSN2d(8, normalizers=("LN", "BN"))

        def forward(self, x):
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = torch.relu(norm(conv(x)))
            for _ in range(3):
                x = torch.tanh(self.often(x))
            return x.mean((2, 3))

    costs = measure_network_costs(
        Twins().eval(), (torch.randn(2, 8, 6, 6),), CostOptions(batch=2, static=True)
    )
    # The last call of `often` is not followed as the others are.
    assert [batch for batch, _ in counted] == [2] * len(counted)
    assert len(counted) <= 3
    assert costs.of("norms.0", IN) == costs.of("norms.1", IN) == pytest.approx(2.2)
    ln = NormalizerPair(Normalizer.LN, Normalizer.LN)
    assert costs.of("often", ln) == pytest.approx(3 * 1.1)
    assert costs.norm_free_ms is None


def test_a_cost_that_nobody_measured_is_refused(measured):
    costs, _ = measured
    with pytest.raises(ArgumentError, match="no costs of the layer"):
        costs.of("elsewhere", FREE)
    with pytest.raises(ArgumentError, match="has no cost of LN/LN"):
        costs.of("alone", NormalizerPair(Normalizer.LN, Normalizer.LN))


def test_noise_below_zero_is_kept_and_not_used(measured):
    costs, _ = measured
    lucky = replace(costs, layers=(replace(costs.layers[0], milliseconds=-0.01),))
    assert lucky.layers[0].milliseconds == -0.01
    assert lucky.of(lucky.layers[0].layer, lucky.layers[0].pair) == 0
