"""Norms in a row, affine modules behind a norm, and norms in front of a convolution."""

from __future__ import annotations

import pytest
import torch
from networks import BN, IN, LN, Lambda, relative_error, trained_layer
from torch import Tensor, nn

from ssn_prune import SSN1d, prune
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.verification.algebra import check_algebra

BN_BN = NormalizerPair(BN, BN)
STATIC_IN_PART = [pair for pair in ALL_PAIRS if pair != BN_BN]
X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


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


def conv(inputs: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, 4, 3, **options)


def batch_norm(channels: int = 4) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.3, 2.0)
    return norm


def pruned(network: nn.Module, x: Tensor = X) -> PruneResult:
    """Prune and require the same answer; every layer that still shows its output shows its own."""
    network = network.double().eval()
    result = prune(network, x)
    with torch.no_grad():
        assert relative_error(result.model(x), network(x)) < 1e-12
    assert check_algebra(result.original, result.plan, (x,)).passed
    return result


def folds(result: PruneResult) -> list[tuple[str, str] | None]:
    layers = result.plan.layers
    return [None if la.fold is None else (la.fold.code, la.fold.target) for la in layers]


@pytest.mark.parametrize("pair", ALL_PAIRS, ids=str)
def test_a_layer_sees_through_one_that_folded_away(pair: NormalizerPair) -> None:
    network = nn.Sequential(conv(), trained_layer(4, BN_BN), trained_layer(4, pair, 1))
    alone = nn.Sequential(conv(), trained_layer(4, pair, 1))
    found, expected = folds(pruned(network)), folds(pruned(alone))
    assert found == [("scale_and_shift", "0"), expected[0]]


@pytest.mark.parametrize("pair", STATIC_IN_PART, ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_a_static_layer_behind_another_is_absorbed(pair: NormalizerPair, affine: bool) -> None:
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
    "behind",
    [lambda: [batch_norm()], lambda: [Scale(4)], lambda: [Scale(4, inplace=True), Shift(4)]],
    ids=["BatchNorm", "LayerScale", "scale in place, shift"],
)
def test_affine_modules_behind_a_layer_are_absorbed(pair: NormalizerPair, behind) -> None:
    modules = behind()
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


@pytest.mark.parametrize(
    "behind",
    [
        conv(),
        conv(bias=False, stride=2, dilation=2),
        nn.Conv2d(3, 6, 3, groups=3),
        conv(padding=1, padding_mode="reflect"),
        conv(padding=1, padding_mode="circular"),
        conv(padding="same", padding_mode="replicate"),
    ],
    ids=["plain", "no bias", "grouped", "reflect", "circular", "replicate"],
)
def test_a_static_layer_folds_into_the_convolution_behind_it(behind: nn.Conv2d) -> None:
    network = nn.Sequential(nn.ReLU(), trained_layer(3, BN_BN), behind)
    network[1].running_mean.clamp_(-1, 1)
    network[1].running_var.clamp_(0.5, None)
    result = pruned(network)
    assert folds(result) == [("scale_and_shift_into_following", "2")]
    assert isinstance(result.model[1], nn.Identity)


def test_forward_and_backward_folds_meet_in_one_convolution() -> None:
    first = trained_layer(3, BN_BN)
    first.running_mean.clamp_(-1, 1)
    for seed, pair in enumerate(ALL_PAIRS):
        network = nn.Sequential(nn.ReLU(), first, conv(), trained_layer(4, pair, seed))
        assert folds(pruned(network))[0] == ("scale_and_shift_into_following", "2")


def test_vectors_fold_into_the_linear_layer_behind() -> None:
    layer = SSN1d(3)
    layer.fix(BN, BN)
    network = nn.Sequential(nn.ReLU(), layer, nn.Linear(3, 5, bias=False))
    assert folds(pruned(network, X[..., 0, 0])) == [("scale_and_shift_into_following", "2")]


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (conv(padding=1), "pads with zeros"),
        (nn.Sequential(nn.ZeroPad2d(1), conv()), "followed by aten.pad.default"),
        (nn.Sequential(nn.ConstantPad2d(1, 0.5), conv()), "followed by aten.pad.default"),
        (nn.ConvTranspose2d(3, 4, 3), "transposed"),
        (nn.Sequential(nn.ReLU(), conv()), "followed by aten.relu.default"),
        (nn.utils.parametrizations.weight_norm(conv()), "weight is computed"),
    ],
    ids=["zeros", "zeros before", "constant before", "transposed", "activation", "computed"],
)
def test_a_forward_fold_that_is_not_exact_says_why(behind: nn.Module, reason: str) -> None:
    layer = trained_layer(3, BN_BN)
    layer.running_mean.zero_()
    result = pruned(nn.Sequential(nn.ReLU(), layer, behind))
    assert folds(result) == [None]
    assert reason in str(result.report.layers[0].reason)


def test_a_mean_far_from_zero_does_not_go_through_a_sum() -> None:
    layer = trained_layer(3, BN_BN)
    layer.running_mean[1] = 100.0
    result = pruned(nn.Sequential(nn.ReLU(), layer, conv()))
    assert "deviations from zero" in str(result.report.layers[0].reason)


def test_a_second_use_of_the_output_or_of_the_convolution_stops_a_forward_fold() -> None:
    layer = trained_layer(3, BN_BN)
    layer.running_mean.zero_()
    for function in (
        lambda m, x: (y := m.a(x.relu()), m.c(y) + y.mean())[1],
        lambda m, x: m.c(m.a(x.relu())) + m.c(x),
    ):
        assert folds(pruned(Lambda(function, a=layer, c=conv()))) == [None]


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
