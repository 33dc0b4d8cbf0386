"""BatchNorm to SSN, and soft gates to hard ones, on whole networks."""

import pytest
import torch
from layer_formula import OFFERED
from timm.layers import BatchNormAct2d
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d, convert_to_ssn
from ssn_prune.errors import NoSwitchableLayerError
from ssn_prune.layers.swap import harden


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1e-3, momentum=0.2), nn.ReLU())
    model.append(nn.Sequential(nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)))
    with torch.no_grad():
        for norm in (model[1], model[3][1]):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.uniform_(0.2, 2)
    return model


def select_bn(model):
    for layer in model.modules():
        if isinstance(layer, SSN2d):
            for name in ("mean", "var"):
                getattr(layer, f"{name}_weight").data = torch.tensor([0.0, 0.0, 1.0])
                getattr(layer, f"{name}_fixed").fill_(1)
    return model


def test_values_and_settings_of_batch_norm_are_kept():
    model = network().eval()
    converted = convert_to_ssn(model, correction=1)
    for old, new in ((model[1], converted[1]), (model[3][1], converted[3][1])):
        assert type(new) is SSN2d
        assert (new.eps, new.momentum, new.correction) == (old.eps, old.momentum, 1)
        assert not new.training
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(getattr(new, name), getattr(old, name))
        assert torch.equal(new.mean_weight, torch.ones(3))
        assert torch.equal(new.var_weight, torch.ones(3))


def test_converted_network_that_selects_bn_gives_the_same_answers():
    model, x = network().eval(), torch.randn(2, 3, 6, 6)
    converted = select_bn(convert_to_ssn(model))
    torch.testing.assert_close(converted(x), model(x), rtol=1e-5, atol=1e-6)


def test_original_is_unchanged_unless_inplace():
    model = network()
    modules = list(model.modules())
    values = {key: value.clone() for key, value in model.state_dict().items()}
    converted = convert_to_ssn(model)
    assert [id(m) for m in model.modules()] == [id(m) for m in modules]
    assert all(torch.equal(model.state_dict()[key], value) for key, value in values.items())
    shared = {p.data_ptr() for p in model.parameters()} & {
        p.data_ptr() for p in converted.parameters()
    }
    assert not shared
    assert convert_to_ssn(model, inplace=True) is model
    assert type(model[1]) is SSN2d


def test_a_shared_module_stays_shared():
    norm, conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
    model = nn.ModuleDict({"a": nn.Sequential(conv, norm), "b": nn.Sequential(norm), "c": norm})
    converted = convert_to_ssn(model)
    assert type(converted["c"]) is SSN2d
    assert converted["a"][1] is converted["b"][0] is converted["c"]


def test_a_single_batch_norm_is_converted_itself():
    assert isinstance(convert_to_ssn(nn.BatchNorm2d(3)), SSN2d)


def test_batch_norm_without_affine_or_statistics_is_converted():
    norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False, momentum=None)
    layer = convert_to_ssn(nn.Sequential(norm))[0]
    assert torch.equal(layer.weight, torch.ones(3))
    assert torch.equal(layer.running_mean, torch.zeros(3))
    assert layer.momentum == 0.1


def test_dtype_is_kept():
    layer = convert_to_ssn(network().double())[1]
    assert {t.dtype for t in layer.state_dict().values() if t.is_floating_point()} == {
        torch.float64
    }


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_timm_batch_norm_keeps_its_activation(activation):
    norm = BatchNormAct2d(3, act_layer=activation).eval()
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.weight.uniform_(0.5, 2)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm).eval()
    converted = select_bn(convert_to_ssn(model))
    assert isinstance(converted[1].norm, SSN2d)
    assert isinstance(converted[1].act, activation)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(converted(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (nn.Sequential(nn.GroupNorm(1, 3), nn.LayerNorm(3), nn.LayerNorm(4)), "1 GroupNorm, 2 Lay"),
        (nn.Sequential(nn.Conv2d(3, 3, 1)), "no norm at all"),
        (nn.Sequential(nn.BatchNorm1d(3)), "1 BatchNorm1d"),
    ],
)
def test_network_without_batch_norm_is_refused_with_a_list_of_its_norms(model, found):
    with pytest.raises(NoSwitchableLayerError) as info:
        convert_to_ssn(model)
    assert found in info.value.found
    assert "BatchNorm2d" in str(info.value)


@pytest.mark.parametrize("layer_class", [SSN2d, SwitchNorm2d])
@pytest.mark.parametrize("using_bn", [True, False])
def test_harden_rounds_every_gate_in_a_copy(layer_class, using_bn):
    layer = layer_class(
        3, eps=1e-4, momentum=0.2, normalizers=OFFERED[using_bn], correction=1
    ).eval()
    count = 3 if using_bn else 2
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.mean_weight.copy_(torch.tensor([0.2, 0.7, 0.6])[:count])
        layer.var_weight.copy_(torch.tensor([0.5, 0.5, 0.5])[:count])  # a tie: the lowest index
    model = nn.Sequential(layer)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    hard = harden(model)[0]
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


def test_harden_keeps_shared_layers_shared():
    layer = SwitchNorm2d(3)
    hard = harden(nn.ModuleList([layer, nn.Sequential(layer)]))
    assert hard[0] is hard[1][0]


def test_harden_hardens_a_single_layer_itself():
    assert isinstance(harden(SwitchNorm2d(3)), SSN2d)
