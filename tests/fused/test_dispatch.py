"""What the kernels leave to other operators, which compute it or say what is wrong with it."""

from __future__ import annotations

import copy

import pytest
import torch
from layer_reference import assert_agree, expected, measured
from layer_samples import maps, trained

from ssn_prune.nn import fused
from ssn_prune.nn.fused import availability
from ssn_prune.nn.fused.kernels import trial
from ssn_prune.nn.ssn import SSN2d


def spread_out(value):
    """The same values, with others between them."""
    return torch.stack((value, value * 0 + 7), dim=-1)[..., 0]


@pytest.fixture
def fresh():
    availability.runs_on.cache_clear()
    torch.compiler.reset()
    yield
    availability.runs_on.cache_clear()
    torch.compiler.reset()


STATE = ("weight", "bias", "mean_weight", "var_weight", "running_mean", "running_var")


@pytest.mark.parametrize(
    ("name", "compiled"),
    [(name, False) for name in (*STATE, "frozen_ratios")]
    + [(name, True) for name in ("weight", "mean_weight", "running_var")],
)
def test_state_that_is_not_contiguous(name, compiled, fresh):
    layer = trained(SSN2d, 3, frozen=name == "frozen_ratios").float()
    x = maps((4, 3, 5, 4)).float()
    wanted = expected(layer, x)
    getattr(layer, name).data = spread_out(getattr(layer, name).data)
    assert not getattr(layer, name).is_contiguous()
    if compiled:
        layer.compile(backend="aot_eager")
    assert_agree(measured(layer, x), wanted, 4e-6, 80)


def test_an_expanded_weight_of_functional_call():
    layer = trained(SSN2d, 3).float()
    x, weight = maps((4, 3, 5, 4)).float(), torch.tensor(1.5)
    found = torch.func.functional_call(layer, {"weight": weight.expand(3)}, (x,))
    layer.weight.data = torch.full((3,), 1.5)
    assert torch.allclose(found, layer(x), atol=1e-6)


@pytest.mark.parametrize("name", ["weight", "mean_weight", "running_var"])
def test_float64_state_keeps_its_precision(name):
    layer = trained(SSN2d, 3).float()
    getattr(layer, name).data = getattr(layer, name).data.double()
    assert not fused.take(
        maps((4, 3, 5, 4)).float(), layer.weight, *layer.buffers(), *[layer.mean_weight]
    )
    layer(maps((4, 3, 5, 4)).float()).sum().backward()


def test_state_on_another_device_is_refused_as_by_torch():
    layer = trained(SSN2d, 3).float()
    layer.weight = torch.nn.Parameter(layer.weight.to("meta"))
    assert not fused.take(torch.zeros(1, 3, 1), layer.weight)


class Subclass(torch.Tensor):
    """As DTensor is, which has no values of its own."""


def test_tensors_of_other_classes_are_left_alone():
    x = torch.zeros(2, 3, 4)
    assert not fused.runs_fused(x.as_subclass(Subclass))
    assert not fused.take(x, torch.ones(3).as_subclass(Subclass))


@pytest.mark.parametrize(
    ("shape", "taken"),
    [
        ((2, 64, 256, 256, 64), True),
        ((1, 64, 256, 512, 256), False),  # 2**31 entries of a sample
        ((2**10, 2**12, 4), True),
        ((2**17, 2**10, 2), False),  # 19 numbers of every plane
    ],
)
def test_more_entries_than_the_kernels_count(shape, taken):
    assert fused.runs_fused(torch.zeros(1).expand(shape)) is taken


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"groups": 2}, (5, 3, 5, 4), "cannot be split into 2"),
        ({"correction": 1}, (5, 3, 1, 1), "at least 2 positions"),
        ({"correction": 2}, (5, 3, 1, 1), "at least 2 values"),
        ({}, (0, 3, 5, 4), "nothing to normalize"),
        ({}, (2, 3, 0, 4), "nothing to normalize"),
    ],
)
def test_what_is_undefined_is_refused_also_by_a_compiler(options, shape, message, compiled, fresh):
    layer = trained(SSN2d, 3, **options).float()
    if compiled:
        layer.compile(backend="aot_eager")
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(shape))


@pytest.mark.parametrize("error", [RuntimeError("no C compiler"), ImportError("libcuda.so.1")])
@pytest.mark.parametrize("compiled", [False, True])
def test_without_a_launch_training_goes_on_and_says_why(error, compiled, fresh, monkeypatch):
    def refuse(_):
        raise error

    monkeypatch.setattr(trial, "launch_trial", refuse)
    layer, x = trained(SSN2d, 3).float(), maps((4, 3, 5, 4)).float()
    again, wanted = copy.deepcopy(layer), expected(layer, x)
    if compiled:
        layer.compile(backend="aot_eager")
    with pytest.warns(UserWarning, match=str(error)):
        found = measured(layer, x)
    assert_agree(found, wanted, 4e-6, 80)
    assert_agree(measured(again, x), wanted, 4e-6, 80)  # and says it once


@pytest.mark.parametrize("momentum", [0.0, 0.003, 1, 1.0])
def test_any_momentum(momentum):
    layer, x = trained(SSN2d, 3, momentum=momentum).float(), maps((4, 3, 5, 4)).float()
    wanted = expected(layer, x)
    assert_agree(measured(layer, x), wanted, 2e-6, 80)
