"""prune: nothing of the caller's changes, soft gates in every mode, trainable results."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import reference_layout, tiny_network
from networks import BN, IN, LN, PairNetwork, relative_error, trained_layer
from torch import nn

from ssn_prune import SSN2d, SwitchNorm2d, prune, select
from ssn_prune.errors import ArgumentError, UnconvergedGatesError
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.surgery.float64 import float64_copy
from ssn_prune.verification.algebra import check_algebra

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def with_soft_gates(kind: str) -> nn.Module:
    """A network whose layers mix normalizers, for three different reasons."""
    model = tiny_network().train()
    for name in ("sn1", "sn2"):
        layer = getattr(model, name)
        logits = torch.tensor([0.3, -0.2, 0.9]), torch.tensor([0.1, 0.4, 0.2])
        if kind == "softmax":
            soft = SwitchNorm2d(4)
            soft.load_state_dict(layer.state_dict(), strict=False)
            layer = soft
            setattr(model, name, layer)
        else:
            layer.mean_fixed.zero_()
            layer.var_fixed.zero_()
            layer.radius.fill_(0.5)
        with torch.no_grad():
            layer.mean_weight.copy_(logits[0])
            layer.var_weight.copy_(logits[1])
    if kind == "no flags":
        state = reference_layout(model, flags=False)
        model = tiny_network()
        model.load_state_dict(state)
    return model.eval()


def snapshot(model: nn.Module) -> tuple[list[str], dict[str, torch.Tensor], list[int]]:
    names = [f"{name}:{type(module).__name__}" for name, module in model.named_modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return names, state, [id(parameter) for parameter in model.parameters()]


@pytest.mark.parametrize("mode", ["exact", "argmax"])
@pytest.mark.parametrize("training", [False, True])
def test_the_callers_model_is_never_changed(mode: str, training: bool) -> None:
    model = with_soft_gates("radius").train(training)
    names, state, identities = snapshot(model)
    prune(model, X, on_unconverged=mode)
    names_after, state_after, identities_after = snapshot(model)
    assert (names, identities) == (names_after, identities_after)
    assert all(torch.equal(state[key], state_after[key]) for key in state)
    assert model.training == training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["radius", "softmax", "no flags"])
def test_gates_that_are_not_one_hot_are_refused_by_default(kind: str) -> None:
    with pytest.raises(UnconvergedGatesError) as caught:
        prune(with_soft_gates(kind), X)
    assert [layer.name for layer in caught.value.layers] == ["sn1", "sn2"]
    assert caught.value.code == "unconverged_gates"


@pytest.mark.parametrize("kind", ["radius", "softmax", "no flags"])
def test_exact_keeps_the_weighted_form(kind: str) -> None:
    model = with_soft_gates(kind).double()
    result = prune(model, X.double(), on_unconverged="exact")
    with torch.no_grad():
        assert relative_error(result.model(X.double()), model(X.double())) < 1e-13
    assert {layer.reason_code for layer in result.report.layers} == {"weighted_form"}
    assert result.report.rounded is None
    for planned, layer in zip(result.plan.layers, select(model).layers, strict=True):
        assert planned.mean_ratios == layer.mean.ratios


@pytest.mark.parametrize("kind", ["radius", "softmax", "no flags"])
def test_argmax_rounds_and_measures_what_that_does(kind: str) -> None:
    model = with_soft_gates(kind).double()
    result = prune(model, X.double(), on_unconverged="argmax")
    with torch.no_grad():
        soft, rounded = model(X.double()), result.model(X.double())
    measured = result.report.rounded
    assert measured is not None
    assert measured.layers == ("sn1", "sn2")
    difference = float((soft - rounded).abs().max())
    assert difference > 1e-3  # rounding is not harmless here
    assert measured.max_error == pytest.approx(difference, rel=1e-9)
    assert measured.scale == pytest.approx(float(soft.abs().max()), rel=1e-9)
    assert [str(layer.pair) for layer in result.plan.layers] == ["BN/LN", "BN/LN"]


def test_a_finished_network_is_the_same_in_every_mode() -> None:
    model = tiny_network()
    plans = [prune(model, X, on_unconverged=mode).plan for mode in ("error", "exact", "argmax")]
    assert plans[0] == plans[1] == plans[2]


def test_an_unknown_mode_is_a_usage_error() -> None:
    with pytest.raises(ArgumentError):
        prune(tiny_network(), X, on_unconverged="maybe")


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
@pytest.mark.parametrize("correction", [0, 1])
def test_without_folding_the_result_trains_like_the_original(
    pair: NormalizerPair, correction: int
) -> None:
    """Outputs and input gradients in training mode; the running statistics follow."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), trained_layer(4, pair, correction=correction))
    model = model.double().train()
    x = torch.randn(3, 3, 7, 7, dtype=torch.float64)
    concrete = prune(model, x, fold=False).model
    assert concrete.training
    assert not any(isinstance(module, SSN2d) for module in concrete.modules())
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [net(value) for net, value in zip((model, concrete), inputs, strict=True)]
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    if pair == NormalizerPair(BN, BN) and correction:
        return  # torch's BatchNorm2d normalizes training batches by the biased variance
    assert relative_error(outputs[1], outputs[0]) < 1e-12
    assert relative_error(inputs[1].grad, inputs[0].grad) < 1e-11
    if BN in (pair.mean, pair.var) and pair != NormalizerPair(BN, BN):
        expected = model[1].running_mean
        assert relative_error(concrete[1].running_mean, expected) < 1e-12


def test_the_plan_is_independent_of_precision() -> None:
    network = PairNetwork(1, conv_bias=True, follows_conv=True).eval()
    x = torch.randn(2, 3, 9, 9)
    check = check_algebra(network, prune(network, x).plan, (x,))
    assert check.passed
    assert check.worst_layer_error < 1e-12


def test_single_precision_stays_as_accurate_as_the_original() -> None:
    network = PairNetwork(1, conv_bias=False, follows_conv=True).eval()
    x = torch.randn(2, 3, 16, 16)
    pruned = prune(network, x).model
    with torch.no_grad():
        exact = float64_copy(network)(x.double())
        for value, own, reference in zip(pruned(x), network(x), exact, strict=True):
            error = float((value - reference).abs().max())
            bound = 4 * float((own - reference).abs().max()) + 1e-6 * float(reference.abs().max())
            assert error <= bound


def test_shared_parameters_and_aliases_survive() -> None:
    layer = trained_layer(3, NormalizerPair(IN, LN))
    network = nn.ModuleDict({"a": layer, "b": layer})
    network.forward = lambda x: network["b"](network["a"](x))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), layer, nn.ReLU(), layer).double().eval()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    result = prune(model, x)
    assert result.model[1] is result.model[3]
    assert result.report.layers[0].aliases == ("3",)
    assert result.report.layers[0].calls == 2
    with torch.no_grad():
        assert relative_error(result.model(x), model(x)) < 1e-13


def test_networks_with_several_inputs_and_a_dict_of_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = trained_layer(4, NormalizerPair(LN, BN))

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.norm(self.conv(a))
            return {"sum": y + b, "mean": y.mean((2, 3))}

    model = Two().double().eval()
    inputs = (torch.randn(2, 3, 6, 6).double(), torch.randn(2, 4, 4, 4).double())
    result = prune(model, inputs)
    with torch.no_grad():
        expected, actual = model(*inputs), result.model(*inputs)
    assert all(relative_error(actual[key], expected[key]) < 1e-13 for key in expected)


def test_a_copy_can_be_pickled_and_deep_copied() -> None:
    pruned = prune(
        PairNetwork(1, conv_bias=False, follows_conv=True), torch.randn(2, 3, 8, 8)
    ).model
    again = copy.deepcopy(pruned)
    again.load_state_dict(pruned.state_dict())
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(pruned(x), again(x), strict=True))


def test_gates_over_two_normalizers() -> None:
    layer = SSN2d(4, normalizers=("IN", "LN"))
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor([0.0, 1.0]))
        layer.var_weight.copy_(torch.tensor([1.0, 0.0]))
        layer.mean_fixed.fill_(1)
        layer.var_fixed.fill_(1)
        layer.weight.normal_()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer).double().eval()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    result = prune(model, x)
    assert result.plan.layers[0].pair == NormalizerPair(LN, IN)
    with torch.no_grad():
        assert relative_error(result.model(x), model(x)) < 1e-13
