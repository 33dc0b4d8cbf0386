"""BN/BN after another layer, and affine modules after any, become part of its weight and bias."""

from __future__ import annotations

import pytest
import torch
from fold_checks import BN_BN, X, conv, folds, pruned, scale_by_hand
from networks import BN, IN, LN, Lambda, trained_layer
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair

NOT_STATIC = [pair for pair in ALL_PAIRS if pair != BN_BN]


class Scale(nn.Module):
    """LayerScale: one factor per channel."""

    def __init__(self, channels: int, *, inplace: bool = False) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(channels))
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        gamma = self.gamma.view(1, -1, 1, 1)
        return x.mul_(gamma) if self.inplace else x * gamma


class Shift(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.beta + x


def batch_norm(channels: int = 4) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.3, 2.0)
    return norm


def test_weight_and_bias_are_those_of_both_maps() -> None:
    """gamma s and beta s + t with s = w / sqrt(var + eps), t = b - mean s."""
    first, second = trained_layer(3, NormalizerPair(IN, LN)), trained_layer(3, BN_BN, 1)
    network = nn.Sequential(nn.ReLU(), first, second).double()
    result = pruned(network)
    scale = scale_by_hand(second)
    shift = second.bias - second.running_mean * scale
    torch.testing.assert_close(result.model[1].weight, first.weight * scale, rtol=1e-14, atol=0)
    torch.testing.assert_close(result.model[1].bias, first.bias * scale + shift)


@pytest.mark.parametrize("pair", NOT_STATIC, ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_a_static_layer_after_another_is_absorbed(pair: NormalizerPair, affine: bool) -> None:
    first = trained_layer(4, pair)
    if not affine:
        first.weight = first.bias = None
        first.affine = False
    network = nn.Sequential(conv(), first, trained_layer(4, BN_BN, 1))
    result = pruned(network)
    assert folds(result)[1] == ("absorbed_by_preceding_norm", "1")
    assert isinstance(result.model[2], nn.Identity)


def test_a_static_layer_is_absorbed_by_one_that_could_not_fold() -> None:
    network = nn.Sequential(nn.ReLU(), trained_layer(3, BN_BN), trained_layer(3, BN_BN, 1))
    assert folds(pruned(network)) == [None, ("absorbed_by_preceding_norm", "1")]


def test_a_zero_of_an_absorbed_scale_stops_what_would_divide_by_it() -> None:
    second = trained_layer(4, BN_BN, 1, zero_gamma=True)
    network = nn.Sequential(conv(), trained_layer(4, NormalizerPair(LN, BN)), second)
    result = pruned(network)
    assert result.report.layers[0].reason_code == "scale_out_of_range"
    assert folds(result)[1] == ("absorbed_by_preceding_norm", "1")


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
@pytest.mark.parametrize(
    "following",
    [lambda: [batch_norm()], lambda: [Scale(4)], lambda: [Scale(4, inplace=True), Shift(4)]],
    ids=["BatchNorm", "LayerScale", "scale in place, shift"],
)
def test_affine_modules_after_a_layer_are_absorbed(pair: NormalizerPair, following) -> None:
    modules = following()
    network = nn.Sequential(conv(), trained_layer(4, pair), *modules, nn.ReLU())
    result = pruned(network)
    assert all(isinstance(result.model[2 + i], nn.Identity) for i in range(len(modules)))
    assert [step.module for step in result.plan.layers[0].absorbs] == list("23"[: len(modules)])


def doubled(m: nn.Module, x: Tensor) -> Tensor:
    return m.s(m.a(m.c(x))) + m.s(x[:, :1].expand(-1, 4, -1, -1)[..., 1:-1, 1:-1])


@pytest.mark.parametrize(
    "network",
    [
        Lambda(doubled, c=conv(), a=trained_layer(4, BN_BN), s=Scale(4)),
        Lambda(lambda m, x: m.a(m.c(x)) * m.s.gamma.view(-1, 1, 1), c=conv(), s=Scale(4)),
        Lambda(lambda m, x: (y := m.a(m.c(x)), m.s(y) + y)[1], c=conv(), s=Scale(4)),
        Lambda(lambda m, x: m.s(m.a(m.c(x))).sum() + m.s.gamma.sum(), c=conv(), s=Scale(4)),
    ],
    ids=["used elsewhere", "in the code of another module", "second consumer", "gamma read"],
)
def test_an_affine_module_stays_where_removing_it_is_wrong(network: nn.Module) -> None:
    network.a = trained_layer(4, BN_BN)
    result = pruned(network)
    assert isinstance(result.model.s, Scale)
    assert folds(result) == [("scale_and_shift", "c")]


def test_a_hooked_affine_module_stays() -> None:
    network = nn.Sequential(conv(), trained_layer(4, BN_BN), Scale(4))
    network[2].register_forward_hook(lambda _m, _i, y: y + 1)
    assert isinstance(pruned(network).model[2], Scale)


def test_layers_called_twice_chain_only_if_all_calls_agree() -> None:
    def agree(m: nn.Module, x: Tensor) -> Tensor:
        return m.b(m.a(m.c(x))) + m.b(m.a(m.c(2 * x)))

    def differ(m: nn.Module, x: Tensor) -> Tensor:
        return m.b(m.a(m.c(x))) + m.a(m.c(2 * x))

    layers = {"a": trained_layer(4, NormalizerPair(IN, BN)), "b": trained_layer(4, BN_BN, 1)}
    assert folds(pruned(Lambda(agree, c=conv(), **layers)))[1] == (
        "absorbed_by_preceding_norm",
        "a",
    )
    assert folds(pruned(Lambda(differ, c=conv(), **layers)))[1] is None


def test_a_layer_after_a_hooked_one_is_not_absorbed() -> None:
    network = nn.Sequential(nn.ReLU(), trained_layer(3, BN_BN), trained_layer(3, BN_BN, 1))
    network[1].register_forward_hook(lambda _m, _i, y: 2 * y)
    assert folds(pruned(network)) == [None, None]


def test_a_layer_that_has_folded_absorbs_nothing() -> None:
    """The first one's numbers fit half precision, those of both do not."""
    first, second = trained_layer(4, BN_BN), trained_layer(4, BN_BN, 1)
    with torch.no_grad():
        for layer in (first, second):
            layer.running_var.fill_(1.0)
            layer.weight.fill_(300.0)
            layer.running_mean.zero_()
            layer.bias.fill_(300.0)
    network = nn.Sequential(conv(), first, second).half().eval()
    result = prune(network, X.half())
    assert folds(result) == [("scale_and_shift", "0"), None]
    assert result.report.layers[1].reason_code == "scale_out_of_range"
    assert all(bool(torch.isfinite(value).all()) for value in result.model.state_dict().values())
