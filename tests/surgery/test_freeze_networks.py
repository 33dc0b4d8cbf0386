"""freeze_selected on networks: optimizers go on, names, hooks, sharing, state dicts, refusals."""

import copy

import pytest
import torch
from layer_reference import assert_agree
from residual import Residual, optimizer_of, residual, train_step
from torch import nn

from ssn_prune import SSN2d, prune
from ssn_prune.nn.selected import SelectedNorm
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.surgery.freeze import freeze_selected
from ssn_prune.training.radius import RadiusSchedule

IN, LN, BN = Normalizer
NAMES = {"norm": (BN, BN), "norm1": (IN, IN), "norm2": (LN, BN), "down.1": (LN, LN)}


def half_trained(dtype=torch.float64, **options):
    """A network whose gates froze after some steps with momentum, and its optimizer."""
    model = residual(**options).to(dtype)
    model.drop.p = 0.0
    optimizer = optimizer_of(model)
    for step in range(3):
        train_step(model, optimizer, step)
    for name, pair in NAMES.items():
        model.get_submodule(name).fix(*pair)
    return model, optimizer


def layers(model):
    return [m for m in model.modules() if isinstance(m, SSN2d)]


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["double", "single"]
)
@pytest.mark.parametrize("correction", [0, 1])
def test_the_training_goes_on_as_without_the_swap(dtype, bound, correction):
    plain, optimizer = half_trained(dtype, correction=correction)
    swapped, its_optimizer = copy.deepcopy((plain, optimizer))
    before = {id(p): p for p in swapped.parameters()}
    freeze_selected(swapped)
    assert {id(p) for p in swapped.parameters()} < before.keys()
    for step in range(3, 9):
        y, z = train_step(plain, optimizer, step), train_step(swapped, its_optimizer, step)
        wanted = {n: p.detach() for n, p in plain.named_parameters()} | {"output": y}
        found = {n: p.detach() for n, p in swapped.named_parameters()} | {"output": z}
        assert_agree(found, {name: wanted[name] for name in found}, bound)
        assert not any(name.endswith(("mean_weight", "var_weight")) for name in found)
    for parameter in swapped.parameters():
        momentum = its_optimizer.state[parameter]["momentum_buffer"]
        assert momentum.abs().max() > 0
    if correction:  # no module of torch, so the running statistics are the same too
        for layer, name in ((plain.norm, "norm"), (plain.norm2, "norm2")):
            wanted = {k: layer.get_buffer(k) for k in ("running_mean", "running_var")}
            found = {k: swapped.get_submodule(name).get_buffer(k) for k in wanted}
            assert_agree(found, wanted, bound)


def test_losing_the_momentum_would_be_noticed():
    plain, optimizer = half_trained()
    swapped = copy.deepcopy(plain)
    freeze_selected(swapped)
    train_step(plain, optimizer, 3), train_step(swapped, optimizer_of(swapped), 3)
    difference = (plain.conv1.weight - swapped.conv1.weight).abs().max()
    assert difference > 1e-4 * plain.conv1.weight.abs().max()


def test_replacements_have_the_right_kinds_and_names_and_stay_shared():
    model, _ = half_trained()
    model.norm.eval()
    old = {name: model.get_submodule(name) for name in NAMES}
    frozen = freeze_selected(model)
    assert frozen.model is model
    kinds = [nn.BatchNorm2d, nn.InstanceNorm2d, SelectedNorm, nn.GroupNorm]
    assert all(
        isinstance(layer.trained, kind) for layer, kind in zip(frozen.layers, kinds, strict=True)
    )
    assert [layer.names for layer in frozen.layers] == [(n,) for n in ("norm", "norm1")] + [
        ("norm2", "again"),
        ("down.1",),
    ]
    assert model.norm2 is model.again is frozen.layers[2].trained
    for layer, (name, pair) in zip(frozen.layers, NAMES.items(), strict=True):
        assert model.get_submodule(name) is layer.trained
        assert layer.switchable is old[name]
        assert layer.pair == NormalizerPair(*pair)
        assert layer.trained.weight is old[name].weight
        assert layer.trained.bias is old[name].bias
        assert layer.trained.training == (name != "norm")
    assert model.norm.running_var is old["norm"].running_var
    assert not layers(model)


def test_hooks_are_carried_over():
    model, _ = half_trained()
    seen = []
    model.norm2.register_forward_hook(lambda module, *_: seen.append(type(module)))
    model.norm1.register_forward_pre_hook(lambda module, _: seen.append(type(module)))
    freeze_selected(model)
    model(torch.zeros(2, 3, 6, 6).double())
    assert seen == [type(model.norm1), SelectedNorm, SelectedNorm]


def test_a_layer_that_is_the_network_itself():
    layer = SSN2d(3)
    layer.fix(IN, BN)
    frozen = freeze_selected(layer)
    assert isinstance(frozen.model, SelectedNorm)
    assert frozen.layers[0].names == ("",)
    SSN2d(3).load_state_dict(frozen.switchable_state_dict())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_switchable_state_gives_back_the_network_with_gates(dtype):
    model, optimizer = half_trained(dtype)
    frozen = freeze_selected(model)
    for step in range(3, 6):
        train_step(model, optimizer, step)
    state = copy.deepcopy(frozen.switchable_state_dict())
    original = Residual(soft=False).to(dtype)
    assert original.state_dict().keys() == state.keys()
    original.load_state_dict(state, strict=True)
    x = torch.randn(4, 3, 6, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    bound = 1e-12 if dtype == torch.float64 else 2e-6
    model.eval(), original.eval()
    assert_agree({"y": model(x).detach()}, {"y": original(x).detach()}, bound)
    pruned = prune(original, x).model
    assert_agree({"y": pruned(x).detach()}, {"y": model(x).detach()}, bound)
    again = freeze_selected(original).switchable_state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())


def test_the_switchable_state_follows_a_network_that_moved_on():
    """A cast, like a move to another device, gives the swapped layers new buffers."""
    model, _ = half_trained()
    frozen = freeze_selected(model)
    model.float()(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)))
    original = Residual()
    original.load_state_dict(frozen.switchable_state_dict())
    for name in ("norm", "norm2"):
        for statistic in ("running_mean", "running_var", "num_batches_tracked"):
            moved = model.get_submodule(name).get_buffer(statistic)
            assert torch.equal(original.get_submodule(name).get_buffer(statistic), moved)


class Versioned(nn.Linear):
    """Like torchvision's MNASNet, it insists on the version that state dicts carry."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if local_metadata.get("version") != 2:
            raise ValueError("unknown version")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def test_the_switchable_state_carries_the_versions_of_modules():
    model = nn.Sequential(SSN2d(3), nn.Flatten(), Versioned(12, 2))
    original = copy.deepcopy(model)
    model[0].fix(LN, LN)  # GroupNorm has another version
    state = freeze_selected(model).switchable_state_dict()
    original.load_state_dict(state)
    assert state._metadata == original.state_dict()._metadata


def test_the_schedule_calls_freeze_selected_when_all_gates_are_frozen():
    model, found = residual(), []
    optimizer = optimizer_of(model)
    schedule = RadiusSchedule(model, 4, on_frozen=lambda m: found.append(freeze_selected(m)))
    for step in range(6):
        assert bool(layers(model)) == (step < 4)
        train_step(model, optimizer, step)
        schedule.step()
    assert len(found) == 1
    residual().load_state_dict(found[0].switchable_state_dict())
