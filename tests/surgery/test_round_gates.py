"""round_gates on whole networks."""

import pytest
import torch
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm1d, SwitchNorm2d, SwitchNorm3d
from ssn_prune.surgery.round_gates import round_gates


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
@pytest.mark.parametrize("using_bn", [True, False])
def test_rounding_rounds_every_gate_in_a_copy(layer_class, using_bn):
    layer = layer_class(
        3,
        eps=1e-4,
        momentum=0.2,
        normalizers=("IN", "LN", "BN") if using_bn else ("IN", "LN"),
        correction=1,
    ).eval()
    count = 3 if using_bn else 2
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.mean_weight.copy_(torch.tensor([0.2, 0.7, 0.6])[:count])
        layer.var_weight.copy_(torch.tensor([0.5, 0.5, 0.5])[:count])  # a tie: the lowest index
    model = nn.Sequential(layer)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hard = round_gates(model)[0]
    assert type(hard) is SSN2d
    assert torch.equal(hard.mean_weight, torch.eye(count)[1])
    assert torch.equal(hard.var_weight, torch.eye(count)[0])
    assert int(hard.mean_fixed) == int(hard.var_fixed) == 1
    assert (hard.eps, hard.momentum, hard.correction) == (1e-4, 0.2, 1)
    assert hard.using_bn == using_bn
    assert hard.training is False
    for name in ("weight", "bias", "running_mean", "running_var"):
        old, new = getattr(layer, name), getattr(hard, name)
        assert (old is None and new is None) or torch.equal(old, new)
    assert model[0] is layer
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_rounding_keeps_shared_layers_shared():
    layer = SwitchNorm2d(3)
    hard = round_gates(nn.ModuleList([layer, nn.Sequential(layer)]))
    assert hard[0] is hard[1][0]


def test_a_single_layer_is_rounded_itself():
    assert isinstance(round_gates(SwitchNorm2d(3)), SSN2d)


@pytest.mark.parametrize(
    ("layer_class", "hard_class"),
    [(SwitchNorm1d, SSN1d), (SwitchNorm3d, SSN3d), (SSN1d, SSN1d), (SSN3d, SSN3d)],
)
def test_rounding_keeps_dimension_and_settings(layer_class, hard_class):
    layer = layer_class(
        3, momentum=None, affine=False, track_running_stats=False, shared_gate=True
    ).double()
    layer.batch_groups = 2
    layer.register_forward_hook(lambda *of: of[-1] + 1)
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.1, 0.3, 0.2]))
    model = nn.Sequential(layer)
    hard = round_gates(model)[0]
    assert type(hard) is hard_class
    assert hard.weight is hard.bias is hard.running_mean is None
    assert (hard.momentum, hard.batch_groups) == (None, 2)
    assert hard.mean_weight is hard.var_weight
    assert hard.mean_weight.tolist() == [0, 1, 0]
    shape = (2, 3, 4, 2, 2) if layer.dims == (5,) else (2, 3, 4)
    x = torch.randn(shape, dtype=torch.float64)
    expected = nn.functional.group_norm(x, 1) + 1
    assert (hard.eval()(x) - expected).abs().max() < 1e-12


def test_rounding_keeps_tied_parameters_tied():
    first, second = SwitchNorm2d(3), SwitchNorm2d(3)
    second.weight = first.weight
    hard = round_gates(nn.Sequential(first, second))
    assert hard[0].weight is hard[1].weight is not first.weight
