"""The radius schedule: how it grows, when gates freeze, and how a training is resumed."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm2d
from ssn_prune.errors import NoSwitchableLayerError
from ssn_prune.training.radius import RadiusSchedule

VERTEX = {2: math.sqrt(1 / 2), 3: math.sqrt(2 / 3)}
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
BUFFERS = ("radius", "mean_weight", "var_weight", "mean_fixed", "var_fixed", "frozen_ratios")


def network(seed=0, dtype=torch.float64):
    """Layers with three and with two choices and random, close logits."""
    model = nn.Sequential(
        SSN2d(3), SwitchNorm2d(3), SSN1d(2, normalizers=("IN", "BN")), SSN3d(4, shared_gate=True)
    ).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in sparse(model):
            layer.mean_weight.normal_(1.0, 0.1, generator=generator)
            layer.var_weight.normal_(1.0, 0.1, generator=generator)
    return model


def sparse(model):
    return [layer for layer in model.modules() if hasattr(layer, "radius")]


def state(model):
    return [getattr(layer, name).detach().clone() for layer in sparse(model) for name in BUFFERS]


def all_one_hot(model):
    ratios = [gate for layer in sparse(model) for gate in layer.gates()]
    return all(sorted(gate.tolist())[-2:] == [0.0, 1.0] and gate.sum() == 1 for gate in ratios)


@pytest.mark.parametrize("end", [None, 1.0, 0.75, 0.5, 0.0])
def test_the_radius_grows_linearly_to_its_end(end):
    model, total = network(), 40
    schedule = RadiusSchedule(model, total, end=end)
    for step in range(total + 5):
        share = min(step / total, 1)
        assert schedule.share == share
        for layer in sparse(model):
            count = len(layer.normalizers)
            # A layer never needs more than its vertex radius.
            wanted = min(share * (VERTEX[count] if end is None else end), VERTEX[count])
            assert schedule.radius(count) == pytest.approx(wanted, rel=1e-15)
            assert float(layer.radius) == schedule.radius(count) or all_frozen(layer)
        schedule.step()
    assert schedule.steps_done == total + 5


def all_frozen(layer):
    return bool(layer.mean_fixed) and bool(layer.var_fixed)


@given(total=st.integers(1, 10**7), seed=st.integers(0, 10**6), dtype=st.sampled_from(DTYPES))
@settings(max_examples=25, deadline=None)
def test_the_last_step_reaches_the_vertex_exactly(total, seed, dtype):
    model = network(seed, dtype)
    schedule = RadiusSchedule(model, total)
    begun = {"steps_done": total - 1, "total_steps": total, "end": None, "frozen": False}
    schedule.load_state_dict(begun)
    schedule.step()
    assert schedule.radius(3) == VERTEX[3]
    assert schedule.radius(2) == VERTEX[2]
    assert schedule.frozen
    assert all(map(all_frozen, sparse(model)))
    assert all_one_hot(model)


@pytest.mark.parametrize("total", [1, 2, 3, 7, 49])
def test_every_way_of_steps_ends_at_the_vertex_and_not_before(total):
    model = network()
    schedule = RadiusSchedule(model, total)
    for _ in range(total):
        assert not schedule.frozen
        assert not any(map(all_frozen, sparse(model)))
        schedule.step()
    assert schedule.frozen
    assert all_one_hot(model)


@pytest.mark.parametrize("total", [10, 49, 120])
def test_the_reference_end_freezes_everything_by_82_percent(total):
    model, calls = network(), []
    schedule = RadiusSchedule(model, total, end=1.0, on_frozen=calls.append)
    first = math.ceil(total * VERTEX[3])
    for step in range(1, total + 1):
        schedule.step()
        assert all(bool(layer.mean_fixed) for layer in sparse(model)) == (step >= first)
        assert len(calls) == (step >= first)
    assert calls == [model]
    assert first <= math.ceil(0.8165 * total)


@pytest.mark.parametrize(("end", "certain"), [(0.816, False), (0.816496, True), (0.7072, False)])
def test_an_end_short_of_the_vertex_of_three_is_never_certain(end, certain):
    """0.816496 is within 1e-6 of it, where gates are one-hot too."""
    model, calls = network(), []
    schedule = RadiusSchedule(model, 5, end=end, on_frozen=calls.append)
    for _ in range(9):
        schedule.step()
    assert schedule.frozen == certain == all_one_hot(model)
    assert len(calls) == certain
    assert all_one_hot(model[2])


def test_the_callback_waits_until_every_gate_is_one_hot_for_certain():
    model, seen = network(), []
    with torch.no_grad():
        for layer in sparse(model):
            for gate in (layer.mean_weight, layer.var_weight):
                gate.copy_(torch.arange(len(gate)) * 2.0)  # sparsemax decides these at once
    wrapper = nn.Sequential(model)
    schedule = RadiusSchedule(
        wrapper, 4, on_frozen=lambda given: seen.append((given, schedule.steps_done))
    )
    assert all_one_hot(model)
    for _ in range(8):
        schedule.step()
    assert seen == [(wrapper, 4)]


def train(model, schedule, steps):
    """Push the logits as an optimizer does, those of frozen gates included."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for layer in sparse(model):
                for gate in (layer.mean_weight, layer.var_weight):
                    gate.add_(torch.randn(len(gate), generator=generator).double() * 0.01)
        schedule.step()


@pytest.mark.parametrize("end", [None, 1.0])
@pytest.mark.parametrize("cut", [0, 3, 8, 9, 10])
def test_a_resumed_schedule_is_as_if_it_had_not_been_interrupted(cut, end):
    calls = []
    whole = network()
    train(whole, RadiusSchedule(whole, 10, end=end, on_frozen=calls.append), range(12))
    first = network()
    before = RadiusSchedule(first, 10, end=end, on_frozen=calls.append)
    train(first, before, range(cut))
    saved = json.loads(json.dumps(before.state_dict()))
    second = network(seed=1)
    second.load_state_dict(first.state_dict())
    after = RadiusSchedule(second, 10, end=end, on_frozen=calls.append)
    after.load_state_dict(saved)
    train(second, after, range(cut, 12))
    whole.state_dict(), second.state_dict()  # put back the stored weights of frozen gates
    for a, b in zip(state(whole), state(second), strict=True):
        assert torch.equal(a, b)
    assert calls.count(whole) == 1
    assert calls.count(first) + calls.count(second) == 1
    assert (after.steps_done, after.total_steps, after.end) == (12, 10, end)


@pytest.mark.parametrize(
    ("steps", "end", "named"),
    [(12, None, "total_steps=10, which replaces total_steps=12"), (10, 0.5, "end=None, .*end=0.5")],
)
def test_a_saved_schedule_replaces_another_one_with_a_warning(steps, end, named):
    first = RadiusSchedule(network(), 10)
    first.step()
    state = first.state_dict()
    schedule = RadiusSchedule(network(), steps, end=end)
    with pytest.warns(UserWarning, match=named) as caught:
        schedule.load_state_dict(state)
    assert caught[0].filename == __file__
    assert (schedule.total_steps, schedule.end, schedule.steps_done) == (10, None, 1)
    # The cure that the warning names: without another warning, and the radius follows.
    own = RadiusSchedule(network(), steps, end=end)
    own.load_state_dict({**state, "total_steps": steps, "end": end})
    assert own.radius(3) == pytest.approx((end or VERTEX[3]) / steps, rel=1e-15)


def test_frozen_gates_stay_after_the_end():
    model = network()
    schedule = RadiusSchedule(model, 2)
    for _ in range(2):
        schedule.step()
    before = [gate.clone() for layer in sparse(model) for gate in layer.gates()]
    with torch.no_grad():
        for layer in sparse(model):
            layer.mean_weight.sub_(torch.randn(len(layer.mean_weight)).double())
    for _ in range(3):
        schedule.step()
    after = [gate for layer in sparse(model) for gate in layer.gates()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("model", [nn.ReLU(), nn.BatchNorm2d(3), SwitchNorm2d(3)])
def test_a_network_without_ssn_layers_is_refused(model):
    with pytest.raises(NoSwitchableLayerError, match="no SSN layer") as caught:
        RadiusSchedule(model, 10)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("total", "end", "message"),
    [(0, None, "total_steps must be at least 1"), (-1, 1.0, "total_steps must be at least 1")]
    + [(10, end, "end must be a finite radius") for end in (-0.1, math.nan, math.inf)],
)
def test_impossible_numbers_are_refused(total, end, message):
    with pytest.raises(ValueError, match=message):
        RadiusSchedule(SSN2d(3), total, end=end)
