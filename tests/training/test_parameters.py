"""The gates in the optimizer: each parameter once, a tenth of the rate, no decay, clipped."""

import pytest
import torch
from torch import nn

from ssn_prune import SSN1d, SSN2d, SSN3d, SwitchNorm2d
from ssn_prune.training.parameters import clip_gate_gradients, gate_parameters, param_groups


class Branches(nn.Module):
    """A layer used under two names, a shared gate, a gate tied between layers, other norms."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.first = SSN2d(3)
        self.alias = self.first
        self.shared = SwitchNorm2d(3, shared_gate=True)
        self.tied = SSN2d(3, affine=False)
        self.tied.mean_weight = self.first.mean_weight
        self.plain = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.plain(self.alias(self.first(self.conv(x))))
        return self.fc(self.tied(self.shared(x)).flatten(2).pow(2).mean(2))


def gates_of(model):
    first, shared, tied = model.first, model.shared, model.tied
    return [first.mean_weight, first.var_weight, shared.mean_weight, tied.var_weight]


def same(found, wanted):
    return [id(p) for p in found] == [id(p) for p in wanted]


def test_every_gate_appears_once_in_the_network_s_order():
    model = Branches()
    assert same(gate_parameters(model), gates_of(model))
    assert same(gate_parameters(nn.Sequential(model)), gates_of(model))


@pytest.mark.parametrize("layer", [SSN1d(2), SSN2d(2), SSN3d(2, normalizers=("IN", "BN"))])
def test_a_layer_that_is_the_network_itself(layer):
    assert same(gate_parameters(layer), [layer.mean_weight, layer.var_weight])


def test_a_network_without_gates_has_none():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    assert gate_parameters(model) == []
    assert [group["name"] for group in param_groups(model, 0.1)] == ["weights"]
    assert float(clip_gate_gradients(model)) == 0.0


@pytest.mark.parametrize("norm_weight_decay", [None, 0.0, 0.3])
def test_the_groups_divide_the_parameters(norm_weight_decay):
    model = Branches()
    groups = param_groups(
        model, 0.5, weight_decay=0.02, gate_lr_ratio=0.2, norm_weight_decay=norm_weight_decay
    )
    named = {group["name"]: group for group in groups}
    flat = [p for group in groups for p in group["params"]]
    assert len(flat) == len(set(map(id, flat)))
    assert set(map(id, flat)) == set(map(id, model.parameters()))
    gates = named["gates"]
    assert same(gates["params"], gates_of(model))
    assert (gates["lr"], gates["weight_decay"]) == (pytest.approx(0.1), 0.0)
    others = [g for name, g in named.items() if name != "gates"]
    assert all(g["lr"] == 0.5 for g in others)
    assert named["weights"]["weight_decay"] == 0.02
    if norm_weight_decay is None:
        assert [g["name"] for g in groups] == ["weights", "gates"]
    else:
        assert [g["name"] for g in groups] == ["weights", "norms", "gates"]
        assert named["norms"]["weight_decay"] == norm_weight_decay
        assert same(named["weights"]["params"], [model.conv.weight, model.fc.weight])


@pytest.mark.parametrize("given", [None, 0.0, 0.02])
@pytest.mark.parametrize("norm_weight_decay", [None, 0.3])
def test_the_optimizer_decays_the_weights_unless_the_groups_say_how(given, norm_weight_decay):
    groups = param_groups(Branches(), 0.1, weight_decay=given, norm_weight_decay=norm_weight_decay)
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=0.25)
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays.pop("weights") == (0.25 if given is None else given)
    assert decays.pop("gates") == 0.0
    assert decays == ({} if norm_weight_decay is None else {"norms": 0.3})


def test_gates_learn_at_a_tenth_of_the_rate_by_default():
    weights, gates = param_groups(Branches(), 0.1)
    assert (weights["lr"], gates["lr"]) == (0.1, pytest.approx(0.01, rel=1e-15))


def test_parameters_without_gradient_are_left_out():
    model = Branches()
    model.conv.weight.requires_grad_(False)
    model.first.var_weight.requires_grad_(False)
    groups = param_groups(model, 0.1)
    flat = {id(p) for group in groups for p in group["params"]}
    assert flat == {id(p) for p in model.parameters() if p.requires_grad}
    for gate in gates_of(model):
        gate.requires_grad_(False)
    assert [group["name"] for group in param_groups(model, 0.1)] == ["weights"]
    model.requires_grad_(False)
    assert param_groups(model, 0.1) == []


def gradients(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    (model(torch.randn(4, 3, 5, 5, generator=generator)) ** 2).sum().backward()


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_of_the_groups_trains_every_parameter(optimizer_class):
    torch.manual_seed(0)
    model = Branches()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = optimizer_class(param_groups(model, 0.1))
    gradients(model)
    optimizer.step()
    for (name, after), old in zip(model.named_parameters(), before, strict=True):
        assert not torch.equal(after, old), name


def test_gates_move_by_a_tenth_of_the_rate_and_do_not_decay():
    model = Branches()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    torch.optim.SGD(param_groups(model, 0.1, weight_decay=0.5)).step()
    gates = {id(gate) for gate in gates_of(model)}
    for name, parameter in model.named_parameters():
        old = before[name]
        wanted = old - 0.01 if id(parameter) in gates else old - 0.1 * (1 + 0.5 * old)
        torch.testing.assert_close(parameter.detach(), wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("max_norm", [1.0, 0.25, 1e6])
def test_the_joint_norm_of_the_gates_is_clipped_and_nothing_else(max_norm):
    model = Branches().double()
    for index, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, index + 1.0)
    model.tied.var_weight.grad = None  # a gate that was not used
    before = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    used = [gate for gate in gates_of(model) if gate.grad is not None]
    joint = sum(float((gate.grad**2).sum()) for gate in used) ** 0.5
    assert float(clip_gate_gradients(model, max_norm)) == pytest.approx(joint, rel=1e-14)
    factor = min(1.0, max_norm / joint)
    ids = {id(gate) for gate in used}
    for name, parameter in model.named_parameters():
        if name in before:
            wanted = before[name] * (factor if id(parameter) in ids else 1.0)
            # torch divides by the norm plus 1e-6
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-6, atol=0)
            assert id(parameter) in ids or torch.equal(parameter.grad, before[name])
    assert model.tied.var_weight.grad is None


def test_the_default_clips_to_norm_one():
    model = Branches().double()
    for gate in gates_of(model):
        gate.grad = torch.full_like(gate, 10.0)
    clip_gate_gradients(model)
    joint = sum(float((gate.grad**2).sum()) for gate in gates_of(model)) ** 0.5
    assert joint == pytest.approx(1.0, rel=1e-6)
