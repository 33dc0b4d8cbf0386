"""latency_penalty: its value, its gradient, and what training with it does."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from costs_samples import cheap_costs
from host_waits import NoTransfers, pretended_gpu
from torch import nn

from ssn_prune import RadiusSchedule, SwitchNorm2d, clip_gate_gradients, param_groups, select
from ssn_prune.errors import ArgumentError, CostsError
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.training.latency import LatencyPenalty, latency_penalty

IN, LN, BN = Normalizer


def costs_of(model, table=None, norm_free=10.0):
    """What a table says of every layer: by default 1, 2, ... for the pairs in their order."""
    layers = {name: m for name, m in model.named_modules() if hasattr(m, "normalizers")}
    costs = cheap_costs(list(layers), table, norm_free=norm_free)

    def offered(entry):
        layer, pair = layers[entry.layer], entry.pair
        known = {pair.mean, pair.var} <= set(layer.normalizers)
        return known and (pair.mean == pair.var or not layer.shared_gate)

    return replace(costs, layers=tuple(filter(offered, costs.layers)))


def mixed_network():
    """Soft, frozen and softmax gates; all, two and shared normalizers."""
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "soft": SSN2d(4),
            "frozen": SSN2d(4),
            "two": SSN2d(4, normalizers=("IN", "BN")),
            "shared": SSN2d(4, shared_gate=True),
            "softmax": SwitchNorm2d(4),
        }
    ).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("mean_weight", "var_weight")):
                parameter.uniform_(0.2, 0.5)
    model["frozen"].fix(IN, LN)
    return model


def test_the_value_is_the_sum_over_pairs_of_both_gates():
    model = mixed_network()
    costs = costs_of(model)
    expected = 0.0
    for name, layer in model.items():
        mean, var = (gate.tolist() for gate in layer.gates())
        for i, a in enumerate(layer.normalizers):
            for j, b in enumerate(layer.normalizers):
                if layer.shared_gate:
                    own = costs.of(name, NormalizerPair(a, a)) if i == j else 0.0
                    expected += mean[i] * own if i == j else 0.0
                else:
                    expected += mean[i] * var[j] * costs.of(name, NormalizerPair(a, b))
    found = latency_penalty(model, costs, weight=3.0)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(3.0 * expected / 10.0, rel=1e-12)


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_one_hot_gates_cost_what_their_pairs_cost(pair):
    model = nn.ModuleDict({"a": SSN2d(4), "b": SSN2d(4)})
    for layer in model.values():
        layer.fix(pair.mean, pair.var)
    costs = costs_of(model)
    found = latency_penalty(model, costs, weight=0.5)
    assert found.item() == pytest.approx(0.5 * 2 * costs.of("a", pair) / 10)
    assert (found == 0) == (pair == NormalizerPair(BN, BN))


def test_the_gradient_is_that_of_finite_differences():
    model = mixed_network()
    costs = costs_of(model)
    latency_penalty(model, costs, weight=2.0).backward()
    step = 1e-6
    for name, parameter in model.named_parameters():
        if not name.endswith(("mean_weight", "var_weight")):
            assert parameter.grad is None
            continue
        for index in range(len(parameter)):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    kept = parameter[index].item()
                    parameter[index] = kept + sign * step
                    values.append(latency_penalty(model, costs, weight=2.0).item())
                    parameter[index] = kept
            slope = (values[0] - values[1]) / (2 * step)
            slope = 0.0 if name.startswith("frozen") else slope
            assert parameter.grad[index].item() == pytest.approx(slope, abs=1e-8), name


def test_training_moves_gates_to_the_cheap_pair():
    """The task does not care, and all other pairs cost the same."""
    torch.manual_seed(0)
    layer = SSN2d(4, normalizers=("IN", "LN"))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer, nn.ReLU(), nn.Conv2d(4, 2, 1))
    cheap = NormalizerPair(IN, LN)
    costs = costs_of(model, {pair: 0.1 if pair == cheap else 5.0 for pair in ALL_PAIRS})
    optimizer = torch.optim.SGD(param_groups(model, lr=0.5), momentum=0.9)
    schedule = RadiusSchedule(model, total_steps=80)
    for _ in range(80):
        loss = model(torch.randn(4, 3, 8, 8)).square().mean() * 1e-3
        loss = loss + latency_penalty(model, costs, weight=1.0)
        optimizer.zero_grad()
        loss.backward()
        clip_gate_gradients(model)
        optimizer.step()
        schedule.step()
    (found,) = select(model).layers
    assert found.converged
    assert found.pair == cheap


def test_a_weight_of_zero_moves_nothing():
    model = nn.ModuleDict({"a": SSN2d(4)})
    latency_penalty(model, costs_of(model), weight=0.0).backward()
    assert not model["a"].mean_weight.grad.any()
    assert not model["a"].var_weight.grad.any()


def test_it_compiles():
    model = mixed_network().float()
    costs = costs_of(model)
    expected = latency_penalty(model, costs, weight=1.0)
    compiled = torch.compile(lambda: latency_penalty(model, costs, weight=1.0), backend="eager")
    torch.testing.assert_close(compiled(), expected)


def test_gates_are_asked_on_their_device():
    with torch.device("meta"):
        layer = SwitchNorm2d(4)
    model = nn.ModuleDict({"a": layer})
    assert latency_penalty(model, costs_of(model), weight=1.0).device.type == "meta"


def test_no_step_waits_for_the_device():
    with pretended_gpu():
        model = nn.ModuleDict({"a": SSN2d(4), "b": SwitchNorm2d(4), "c": SSN2d(4)})
        penalty = LatencyPenalty(model, costs_of(model), weight=1.0)
        with NoTransfers():
            value = penalty()
        assert value.device.type == "cuda"
        assert value.requires_grad


def test_a_penalty_for_many_steps_follows_the_gates():
    model = mixed_network()
    costs = costs_of(model)
    penalty = LatencyPenalty(model, costs, weight=2.0)
    assert torch.equal(penalty(), latency_penalty(model, costs, weight=2.0))
    before = penalty()
    model["soft"].fix(LN, LN)
    assert torch.equal(penalty(), latency_penalty(model, costs, weight=2.0))
    assert penalty() != before


def test_a_pair_that_cannot_be_exported_is_as_bad_as_the_worst():
    model = nn.ModuleDict({"a": SSN2d(4)})
    costs = costs_of(model)
    kept = tuple(entry for entry in costs.layers if entry.pair.var != IN)
    model["a"].fix(BN, IN)
    found = latency_penalty(model, replace(costs, layers=kept), weight=1.0)
    assert found.item() == pytest.approx(max(entry.milliseconds for entry in kept) / 10)


def test_a_network_without_gates_costs_nothing():
    assert latency_penalty(nn.Conv2d(1, 1, 1), costs_of(nn.Module()), weight=1.0).item() == 0


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight):
    model = nn.ModuleDict({"a": SSN2d(4)})
    with pytest.raises(ArgumentError, match="weight of a penalty"):
        latency_penalty(model, costs_of(model), weight=weight)


def test_costs_of_another_network_are_refused():
    costs = costs_of(nn.ModuleDict({"a": SSN2d(4)}))
    with pytest.raises(CostsError, match=r"another network.*'b'"):
        latency_penalty(nn.ModuleDict({"a": SSN2d(4), "b": SSN2d(4)}), costs, weight=1.0)
    with pytest.raises(CostsError, match="another network") as caught:
        latency_penalty(nn.ModuleDict({"a": SSN2d(8)}), costs, weight=1.0)
    assert "8 channels" in str(caught.value)
    assert "4 channels" in str(caught.value)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: nn.ModuleDict({"module": model}),  # as DistributedDataParallel does
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.Sequential(nn.ModuleDict({"_orig_mod": model})),
    ],
)
@pytest.mark.parametrize("names", [("a",), ("a", "inner.a")])
def test_costs_of_the_network_in_a_wrapper_name_it(wrap, names):
    model = nn.Module()
    model.inner = nn.Module()
    for name in names:
        model.get_submodule(name.rpartition(".")[0]).add_module("a", SSN2d(4))
    costs = costs_of(model)
    wrapped = wrap(model)
    with pytest.raises(CostsError, match="another network") as caught:
        latency_penalty(wrapped, costs, weight=1.0)
    part = re.search(r"get_submodule\('(.*)'\)", caught.value.hint)[1]
    assert wrapped.get_submodule(part) is model
    latency_penalty(model, costs, weight=1.0)


def test_costs_of_another_network_name_how_to_measure():
    costs = costs_of(nn.ModuleDict({"a": SSN2d(4)}))
    for other in (nn.Sequential(SSN2d(4)), nn.ModuleDict({"x": nn.ModuleDict({"b": SSN2d(4)})})):
        with pytest.raises(CostsError, match="measure_network_costs"):
            latency_penalty(other, costs, weight=1.0)


def test_costs_without_a_unit_are_refused():
    model = nn.ModuleDict({"a": SSN2d(4)})
    with pytest.raises(ArgumentError, match="without norms"):
        latency_penalty(model, costs_of(model, norm_free=None), weight=1.0)
