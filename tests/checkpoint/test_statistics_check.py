"""Gates and running statistics that are not sound are named with their counts, without torch."""

import math

import pytest
import torch
from helpers import tiny_network

from ssn_prune.checkpoint.source import open_weights
from ssn_prune.errors import CheckpointError


def check(tmp_path, state):
    torch.save(state, tmp_path / "net.pth")
    with open_weights(tmp_path / "net.pth") as opened:
        return opened.tensors


def refused(tmp_path, state):
    with pytest.raises(CheckpointError) as caught:
        check(tmp_path, state)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.hint
    return caught.value


@pytest.fixture
def state():
    return tiny_network().state_dict()


def test_a_trained_network_passes(tmp_path, state):
    assert check(tmp_path, state).keys() == state.keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("leaf", ["mean_weight", "var_weight", "running_mean", "running_var"])
def test_what_is_not_finite_is_named(tmp_path, state, leaf, bad, dtype):
    key = f"sn2.{leaf}"
    state[key] = state[key].to(dtype)
    state[key].flatten()[1] = bad
    size = state[key].numel()
    assert refused(tmp_path, state).problem == f"1 of {size} entries of {key} are NaN or infinite"


@pytest.mark.parametrize("count", [1, 3])
def test_negative_variances_are_counted(tmp_path, state, count):
    state["sn1.running_var"].flatten()[:count] = -2e-6
    error = refused(tmp_path, state)
    assert error.problem == f"{count} of 4 entries of sn1.running_var are negative"


def test_the_variance_of_a_batch_norm_counts_too(tmp_path, state):
    state["bn.running_var"] = torch.tensor([1.0, -1.0])
    assert "1 of 2 entries of bn.running_var" in refused(tmp_path, state).problem


def test_zero_variances_and_negative_means_are_sound(tmp_path, state):
    state["sn1.running_var"].fill_(-1e-7)  # rounding of a constant channel
    state["sn2.running_var"].zero_()
    state["sn1.running_mean"].fill_(-1)
    check(tmp_path, state)


def test_a_running_sum_that_exceeds_float32_is_sound(tmp_path, state):
    state["sn1.running_var"] = torch.full((4,), 1e308, dtype=torch.float64)
    check(tmp_path, state)


def test_several_are_listed_and_the_rest_counted(tmp_path, state):
    for number in range(6):
        state[f"bn{number}.running_var"] = -torch.ones(2)
    problem = refused(tmp_path, state).problem
    assert "bn0.running_var" in problem
    assert "bn3.running_var" in problem
    assert "and 2 more" in problem


def test_statistics_of_a_million_channels_are_refused(tmp_path, state):
    state["bn.running_var"] = torch.ones(1).expand((1 << 20) + 1)
    assert "bn.running_var is too large" in refused(tmp_path, state).problem
