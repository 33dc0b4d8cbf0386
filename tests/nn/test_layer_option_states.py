"""Shared gates, optional keys, damaged states and precisions of layers with options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from dimension_networks import Branches, Parallel, one_hot_layer, randomize_layer, sample
from layer_option_checks import (
    TOLERANCE,
    assert_equal,
    outputs,
)
from networks import BN, IN, LN, relative_error
from torch import nn

from ssn_prune import load_checkpoint, prune, select
from ssn_prune.checkpoint.key_matching import load_weights
from ssn_prune.errors import CheckpointError
from ssn_prune.nn.inference import MomentNorm
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair


@pytest.mark.parametrize("make", [SSN2d, SwitchNorm2d])
def test_a_shared_gate_converts(make: Callable[..., SwitchableNorm]) -> None:
    layer = randomize_layer(make(6, shared_gate=True))
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.2, 0.9, 0.1]))
    network = Branches("2d", [layer], adjacent=True).double().eval()
    x = sample("2d")
    exact = prune(network, x, on_unconverged="exact")
    assert exact.plan.layers[0].mean_ratios == exact.plan.layers[0].var_ratios
    assert_equal(exact.model, outputs(network, x), x)
    rounded = prune(network, x, on_unconverged="argmax")
    assert str(rounded.plan.layers[0].pair) == "LN/LN"


def test_the_state_of_two_gates_does_not_fit_a_shared_one(tmp_path: Path) -> None:
    two, one = one_hot_layer("2d", NormalizerPair(IN, BN)), SSN2d(6, shared_gate=True)
    before = {key: value.clone() for key, value in one.state_dict().items()}
    with pytest.raises(CheckpointError, match="shares one gate") as caught:
        load_weights(nn.Sequential(one), nn.Sequential(two).state_dict(), "network")
    assert caught.value.expected
    assert caught.value.found
    assert "shared_gate=False" in str(caught.value.hint)
    assert all(torch.equal(value, before[key]) for key, value in one.state_dict().items())
    equal = one_hot_layer("2d", NormalizerPair(LN, LN))
    load_weights(nn.Sequential(one), nn.Sequential(equal).state_dict(), "network")
    assert select(one) == select(equal)


def shared_gate_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 1), SSN2d(6, shared_gate=True))


def test_safetensors_that_hold_a_shared_gate_once_load(tmp_path: Path) -> None:
    from safetensors.torch import save_model

    model = shared_gate_network()
    model[1].fix(LN, LN)
    save_model(model, str(tmp_path / "net.safetensors"))
    arch = f"{__name__}:shared_gate_network"
    loaded = load_checkpoint(tmp_path / "net.safetensors", arch=arch).model
    assert select(loaded) == select(model)


# Loading.


def test_optional_keys_are_neither_missing_nor_unexpected() -> None:
    layer = one_hot_layer("2d", NormalizerPair(BN, LN))
    state = nn.Sequential(layer).state_dict()
    optional = ("0.num_batches_tracked", "0._extra_state", "0.mean_fixed", "0.radius")
    for left_out in optional:
        model = nn.Sequential(SSN2d(6))
        load_weights(model, {k: v for k, v in state.items() if k != left_out}, "network")
        assert select(model).layers[0].pair == NormalizerPair(BN, LN)
    for model in (SSN2d(6, normalizers=(IN, LN)), SwitchNorm2d(6)):
        own = nn.Sequential(model).state_dict() | {"0.num_batches_tracked": torch.tensor(7)}
        load_weights(nn.Sequential(model), own, "network")


def in_bn_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 1), SSN2d(6, normalizers=(IN, BN)))


def test_a_state_of_other_normalizers_is_a_typed_error(tmp_path: Path) -> None:
    trained = nn.Sequential(nn.Conv2d(3, 6, 1), SSN2d(6, normalizers=(LN, BN)))
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="1 was trained with other normalizers") as caught:
        load_checkpoint(tmp_path / "net.pth", arch=f"{__name__}:in_bn_network")
    assert caught.value.expected == "IN, BN"
    assert "LN, BN" in str(caught.value.found)
    assert "normalizers=('LN', 'BN')" in str(caught.value.hint)
    with pytest.raises(ValueError, match="trained with"):  # what torch's own loading says
        in_bn_network().load_state_dict(trained.state_dict())


@pytest.mark.parametrize("extra", [[], [0, 1], [3, 1, 1, 1], [1, 2, 1, 1], [0.5, 1, 1, 1]])
def test_a_damaged_extra_state_is_a_typed_error(extra: list[float]) -> None:
    model = nn.Sequential(SSN2d(6))
    state = model.state_dict() | {"0._extra_state": torch.tensor(extra)}
    with pytest.raises(CheckpointError, match="_extra_state of 0"):
        load_weights(model, state, "network")


# Training on.


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_running_statistics_go_on_with_the_original_momentum(momentum: float | None) -> None:
    pairs = [pair for pair in ALL_PAIRS if BN in (pair.mean, pair.var) and pair.mean != pair.var]
    layers = [one_hot_layer("2d", pair, momentum=momentum) for pair in pairs]
    model = Parallel(layers).double().train()
    model(torch.randn(3, 6, 4, 3, dtype=torch.float64))  # a batch before the swap counts too
    concrete = prune(model, torch.randn(2, 6, 4, 3, dtype=torch.float64), fold=False).model
    for seed in range(3):
        x = torch.randn(3, 6, 4, 3, dtype=torch.float64) + seed
        model(x)
        concrete(x)
    for trained, original in zip(concrete.layers, model.layers, strict=True):
        assert isinstance(trained, MomentNorm)
        assert relative_error(trained.running_mean, original.running_mean) < TOLERANCE
        assert relative_error(trained.running_var, original.running_var) < TOLERANCE
        assert int(trained.num_batches_tracked) == 4


def test_half_precision_layers_train_on_and_run_their_hooks_once() -> None:
    model = Parallel([one_hot_layer("2d", NormalizerPair(IN, BN))]).half().train()
    concrete = prune(model, torch.randn(2, 6, 4, 3).half(), fold=False).model
    calls: list[int] = []
    concrete.layers[0].register_forward_hook(lambda *_: calls.append(1))
    before = concrete.layers[0].running_mean.clone()
    y = concrete(torch.randn(4, 6, 4, 3).half() + 1)[0]
    assert y.dtype == torch.float16
    assert calls == [1]
    assert float((concrete.layers[0].running_mean - before).abs().max()) > 0.01


def test_a_layer_that_is_the_whole_network_is_captured() -> None:
    """torch.export miscounts the buffers of a root module that has empty ones."""
    x = torch.randn(2, 6, 4, 3) + 20  # nearly constant, so that IN means are centred
    for pair, affine in ((NormalizerPair(IN, IN), True), (NormalizerPair(BN, IN), False)):
        layer = one_hot_layer("2d", pair, affine=affine).eval()
        result = prune(layer, x)
        assert (result.plan.layers[0].centre is not None) == (pair.mean is IN)
        found = torch.export.export(result.model, (x,)).module()(x)
        with torch.no_grad():
            assert relative_error(found, layer(x)) < 1e-5
