"""Gates that are not one-hot: the message says what the training lacks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssn_prune import RadiusSchedule, SSN2d, SwitchNorm2d, select
from ssn_prune.errors import UnconvergedGatesError


def hint_of(model: nn.Module) -> str:
    with pytest.raises(UnconvergedGatesError) as caught:
        select(model).require_converged()
    assert "`on_unconverged='exact'`" in str(caught.value.hint)
    return str(caught.value.hint)


def network(steps: int, **options: object) -> nn.Module:
    model = nn.Sequential(SSN2d(4, **options), SSN2d(4, **options))
    with torch.no_grad():
        for layer in model:
            layer.mean_weight[0] += 0.1
            layer.var_weight[1] += 0.1
    schedule = RadiusSchedule(model, total_steps=10)
    for _ in range(steps):
        schedule.step()
    return model


def test_a_schedule_that_never_made_a_step() -> None:
    hint = hint_of(network(0))
    assert "the radius is 0 in all of them" in hint
    assert "RadiusSchedule.step()" in hint


@pytest.mark.parametrize(("steps", "missing"), [(1, "90%"), (4, "60%"), (8, "20%")])
def test_a_schedule_that_stopped_on_the_way(steps: int, missing: str) -> None:
    hint = hint_of(network(steps))
    assert f"has come to {0.8165 * steps / 10:.4g}" in hint
    assert f"about {missing} of the training is missing" in hint
    assert "once after every step of the optimizer" in hint


def test_two_normalizers_are_told_their_own_radius() -> None:
    assert "0.7071 with two" in hint_of(network(5, normalizers=("IN", "BN")))


def test_a_radius_at_its_end_is_not_called_unfinished() -> None:
    model = nn.Sequential(SSN2d(4))
    model[0].radius.fill_(0.81)
    hint = hint_of(model)
    assert "step()" not in hint
    assert "train until" in hint


def test_softmax_gates() -> None:
    assert "never one-hot" in hint_of(nn.Sequential(SwitchNorm2d(4)))
