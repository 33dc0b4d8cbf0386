"""Freezing of one-hot gates, and what a state dict carries over."""

import math

import pytest
import torch
from layer_formula import OFFERED
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d, set_radius

LAST_RADIUS = math.sqrt(2 / 3)
GATES = ("mean", "var")


def gated(mean=(0.1, 0.4, 0.2), var=(0.3, 0.0, 0.1), **kwargs):
    layer = SSN2d(3, **kwargs)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor(mean))
        layer.var_weight.copy_(torch.tensor(var))
    return layer


def maps(seed=0):
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return x * torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1) + 1


def official_state(*, flags=True, one_hot=True):
    generator = torch.Generator().manual_seed(3)

    def values(*shape):
        return torch.rand(*shape, generator=generator)

    state = {
        "weight": values(1, 3, 1, 1),
        "bias": values(1, 3, 1, 1),
        "mean_weight": torch.tensor([0.0, 0.0, 1.0]) if one_hot else values(3),
        "var_weight": torch.tensor([0.0, 1.0, 0.0]) if one_hot else values(3),
        "running_mean": values(1, 3, 1),
        "running_var": values(1, 3, 1),
    }
    if flags:
        fixed = torch.tensor([int(one_hot)])
        state |= {"mean_fixed": fixed, "var_fixed": fixed, "radius": torch.tensor([0.7])}
    return state


def test_last_radius_stores_one_hot_gates_and_flags_them():
    model = nn.Sequential(gated(), nn.ReLU(), gated(var=(0.0, 0.0, 0.5)))
    set_radius(model, LAST_RADIUS)
    for layer, choices in ((model[0], (1, 0)), (model[2], (1, 2))):
        for name, choice in zip(GATES, choices, strict=True):
            expected = torch.nn.functional.one_hot(torch.tensor(choice), 3).float()
            assert torch.equal(getattr(layer, f"{name}_weight"), expected)
            assert torch.equal(getattr(layer, f"{name}_fixed"), torch.tensor([1]))
        assert all(torch.equal(g.max(), torch.tensor(1.0)) for g in layer.gates())


def test_below_the_last_radius_nothing_is_frozen():
    layer = gated()
    set_radius(layer, 0.5)
    assert torch.equal(layer.radius, torch.tensor([0.5]))
    assert torch.equal(layer.mean_weight, torch.tensor([0.1, 0.4, 0.2]))
    assert int(layer.mean_fixed) == int(layer.var_fixed) == 0
    layer(maps()).pow(3).sum().backward()
    assert layer.mean_weight.grad.abs().max() > 0
    assert layer.var_weight.grad.abs().max() > 0


def test_a_gate_that_sparsemax_makes_one_hot_is_frozen_alone():
    layer = gated(mean=(3.0, 0.0, 0.0))
    set_radius(layer, 0.1)
    assert torch.equal(layer.mean_weight, torch.tensor([1.0, 0.0, 0.0]))
    assert (int(layer.mean_fixed), int(layer.var_fixed)) == (1, 0)
    layer(maps()).pow(3).sum().backward()
    assert layer.mean_weight.grad is None or not layer.mean_weight.grad.any()
    assert layer.var_weight.grad.abs().max() > 0


def test_a_frozen_gate_stays_frozen_when_the_radius_falls():
    layer = gated()
    set_radius(layer, 1.0)
    set_radius(layer, 0.0)
    assert torch.equal(layer.gates()[0], torch.tensor([0.0, 1.0, 0.0]))


def optimizer_of(layer):
    return torch.optim.SGD(layer.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)


def step(layer, optimizer, seed):
    optimizer.zero_grad(set_to_none=False)
    layer(maps(seed)).pow(3).mean().backward()
    optimizer.step()


def test_momentum_and_weight_decay_do_not_move_a_frozen_gate():
    layer = gated()
    optimizer = optimizer_of(layer)
    for seed in range(3):
        step(layer, optimizer, seed)
    set_radius(layer, LAST_RADIUS)
    stored = layer.mean_weight.detach().clone(), layer.var_weight.detach().clone()
    for seed in range(9, 12):
        step(layer, optimizer, seed)
        assert all(torch.equal(g, s) for g, s in zip(layer.gates(), stored, strict=True))
    saved = layer.state_dict()
    assert torch.equal(saved["mean_weight"], stored[0])
    assert torch.equal(saved["var_weight"], stored[1])


@pytest.mark.parametrize("source", ["state dict", "reference"])
def test_an_optimizer_does_not_move_a_gate_that_was_loaded_frozen(source):
    frozen = gated()
    set_radius(frozen, LAST_RADIUS)
    resumed = SSN2d(3)
    state = frozen.state_dict() if source == "state dict" else official_state()
    resumed.load_state_dict(state)
    stored = [state[f"{gate}_weight"].clone() for gate in GATES]
    optimizer = optimizer_of(resumed)
    for seed in range(3):
        step(resumed, optimizer, seed)
        assert all(torch.equal(g, s) for g, s in zip(resumed.gates(), stored, strict=True))
    set_radius(resumed, LAST_RADIUS)
    assert torch.equal(resumed.mean_weight, stored[0])
    assert torch.equal(resumed.var_weight, stored[1])


@pytest.mark.parametrize("radius", [0.0, 0.2, 0.7])
def test_tied_gates_of_a_zero_initialised_layer_separate(radius):
    layer = SSN2d(3, zero_init=True)
    set_radius(layer, radius)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    for seed in range(3):
        optimizer.zero_grad()
        (layer(maps(seed)) * maps(seed + 10)).mean().backward()
        optimizer.step()
        if seed == 0:  # weight 0 lets no gradient through to the gates
            assert torch.equal(layer.mean_weight, torch.ones(3))
    for gate in (layer.mean_weight, layer.var_weight):
        assert len(set(gate.tolist())) > 1
        assert gate.isfinite().all()


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
@pytest.mark.parametrize("using_bn", [True, False])
def test_state_dict_round_trip_keeps_everything_including_the_correction(layer_class, using_bn):
    source = layer_class(3, normalizers=OFFERED[using_bn], correction=1)
    with torch.no_grad():
        for i, tensor in enumerate(source.parameters()):
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(i)))
    source(maps())
    target = layer_class(3, normalizers=OFFERED[using_bn], correction=0)
    target.load_state_dict(source.state_dict())
    assert target.correction == 1
    assert source.state_dict().keys() == target.state_dict().keys()
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key
    assert torch.equal(source.eval()(maps(1)), target.eval()(maps(1)))


@pytest.mark.parametrize("one_hot", [True, False])
@pytest.mark.parametrize("flags", [True, False])
def test_reference_layout_loads_bit_for_bit(flags, one_hot):
    state = official_state(flags=flags, one_hot=one_hot)
    before = {key: value.clone() for key, value in state.items()}
    layer = SSN2d(3, correction=1)
    layer.load_state_dict(state)
    assert layer.correction == 1
    for key, value in before.items():
        assert torch.equal(getattr(layer, key), value.flatten()), key
        assert state[key].shape == value.shape, "the caller's state dict was changed"
    assert int(layer.mean_fixed) == int(layer.var_fixed) == int(one_hot)


def test_reference_sn_layout_loads_bit_for_bit():
    state = official_state(flags=False, one_hot=False)
    layer = SwitchNorm2d(3, correction=1)
    layer.load_state_dict(state)
    for key, value in state.items():
        assert torch.equal(getattr(layer, key), value.flatten()), key


def test_wrong_channel_count_in_a_state_dict_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        SSN2d(4).load_state_dict(official_state())
