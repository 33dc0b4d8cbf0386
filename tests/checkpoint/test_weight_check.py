"""NaN, infinity and integers where a network computes with real numbers."""

import pytest
import torch
from torch import nn

from ssn_prune.checkpoint.weight_check import require_numbers, require_usable
from ssn_prune.errors import CheckpointError


class Masked(nn.Module):
    """A parameter, statistics, a mask and a counter."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.bn = nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.zeros(3))


def refused(function, *arguments):
    with pytest.raises(CheckpointError) as caught:
        function(*arguments)
    assert caught.value.expected
    assert caught.value.hint
    return caught.value


def state():
    return {key: value.clone() for key, value in Masked().state_dict().items()}


@pytest.mark.parametrize("key", ["fc.weight", "bn.running_mean", "mask"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_nan_is_refused_everywhere_and_counted(key, dtype):
    tensors = state()
    tensors[key] = tensors[key].to(dtype)
    tensors[key].flatten()[:2] = torch.nan
    error = refused(require_numbers, tensors)
    assert error.problem == f"1 tensors hold NaN: {key}"
    assert error.found == f"2 of {tensors[key].numel()} entries of {key} are NaN"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("key", ["fc.weight", "fc.bias", "bn.running_mean", "bn.running_var"])
def test_infinity_is_refused_in_parameters_and_statistics(key, sign):
    tensors = state()
    tensors[key].flatten()[0] = sign * torch.inf
    require_numbers(tensors)
    error = refused(require_usable, Masked(), tensors)
    assert error.problem == f"1 tensors hold infinity: {key}"


def test_infinity_in_another_buffer_is_a_mask():
    tensors = state()
    tensors["mask"][1:] = -torch.inf
    require_numbers(tensors)
    require_usable(Masked(), tensors)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
@pytest.mark.parametrize("key", ["fc.weight", "bn.weight", "bn.running_var"])
def test_integers_are_refused_where_the_network_has_real_numbers(key, dtype):
    tensors = state()
    tensors[key] = tensors[key].to(dtype)
    error = refused(require_usable, Masked(), tensors)
    assert key in error.problem
    assert str(dtype).removeprefix("torch.") in error.found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_real_numbers_too(dtype):
    require_usable(Masked(), {key: value.to(dtype) for key, value in state().items()})


def test_integers_of_other_buffers_and_integer_parameters_pass():
    tensors = state()
    tensors["mask"] = tensors["mask"].to(torch.uint8)
    model = Masked()
    model.index = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    tensors["index"] = torch.ones(2, dtype=torch.int64)
    require_usable(model, tensors)


def test_several_names_of_one_tensor_are_all_named():
    shared = torch.full((3,), torch.nan)
    error = refused(require_numbers, dict.fromkeys("abcdefg", shared))
    assert error.problem == "7 tensors hold NaN: a, b, c, d, e, and 2 more"
