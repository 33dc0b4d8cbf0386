"""rewrite changes a network that it owns; apply_plan changes a copy that shares memory."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from fold_checks import X
from networks import BN, PairNetwork, relative_error
from torch import nn

from ssn_prune import prune
from ssn_prune.pruning.rewrite import apply_plan, rewrite
from ssn_prune.surgery.copying import copy_model


def memory_of(model: nn.Module) -> dict[str, int]:
    return {name: value.data_ptr() for name, value in model.named_parameters()}


def test_rewrite_keeps_the_memory_of_what_it_does_not_change() -> None:
    network = PairNetwork(1, True, True).double().eval()
    plan = prune(network, X).plan
    owned = copy_model(network)
    before = memory_of(owned)
    result = rewrite(plan, owned)
    after = memory_of(result)
    for index, layer in enumerate(plan.layers):
        key = f"convs.{index}.weight"
        assert (before[key] == after[key]) == (layer.pair.var is not BN), layer.pair
    with torch.no_grad():
        assert relative_error(result(X), network(X)) < 1e-13


def test_rewrite_releases_old_kernels() -> None:
    network = PairNetwork(1, True, True).double().eval()
    plan = prune(network, X).plan
    owned = copy_model(network)
    index = next(i for i, layer in enumerate(plan.layers) if layer.pair.var is BN)
    old = weakref.ref(owned.convs[index].weight.untyped_storage())
    rewrite(plan, owned)
    gc.collect()
    assert old() is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_apply_plan_shares_what_it_does_not_change(dtype: torch.dtype) -> None:
    network = PairNetwork(1, True, True).to(dtype).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    plan = prune(network, X.to(dtype)).plan
    result = apply_plan(plan, network)
    assert result is not network
    mine, shared = memory_of(network), memory_of(result)
    for index, layer in enumerate(plan.layers):
        key = f"convs.{index}.weight"
        assert (mine[key] == shared[key]) == (layer.pair.var is not BN), layer.pair
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    assert {value.dtype for value in result.parameters()} == {dtype}


def test_a_layer_that_is_the_network_is_returned_replaced() -> None:
    from networks import IN, LN, trained_layer

    from ssn_prune.normalizer import NormalizerPair

    layer = trained_layer(3, NormalizerPair(IN, LN)).double().eval()
    plan = prune(layer, X).plan
    owned = copy_model(layer)
    result = rewrite(plan, owned)
    assert type(result).__name__ == "MomentNorm2d"
    with torch.no_grad():
        assert relative_error(result(X), layer(X)) < 1e-13
