"""Every situation in which a fold would change the outputs is refused, with its reason."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from networks import BN, IN, Lambda, relative_error, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, weight_norm

from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair

BN_BN = NormalizerPair(BN, BN)
X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def conv(inputs: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, 4, 3, padding=1)


def layer(seed: int = 0) -> nn.Module:
    return trained_layer(4, BN_BN, seed)


def check(network: nn.Module, *codes: str | None, x: Tensor = X) -> nn.Module:
    """Prune, compare the reason codes per layer (None: folded), and require the same outputs."""
    network = network.double().eval()
    result = prune(network, x)
    assert tuple(item.reason_code for item in result.report.layers) == codes
    for item in result.report.layers:
        assert (item.reason is None) == (item.fold is not None)
    with torch.no_grad():
        assert relative_error(result.model(x), network(x)) < 1e-13
    return result.model


def test_plain_chain_folds() -> None:
    check(nn.Sequential(conv(), layer()), None)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (y := m.c(x), m.n(y) + y)[1],
        lambda m, x: [y := m.c(x), m.n(y)],
        lambda m, x: m.n(y := m.c(x)) * y.mean(),
        lambda m, x: (y := m.c(x), z := m.n(y), y.relu_(), z)[2],
    ],
    ids=["residual", "returned", "second use", "in place later"],
)
def test_a_convolution_with_another_consumer_is_refused(
    function: Callable[[nn.Module, Tensor], object],
) -> None:
    check(Lambda(function, c=conv(), n=layer()), "conv_output_has_other_consumers")


def test_a_convolution_used_under_two_norms_is_refused() -> None:
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.b(m.c(x)), c=conv(), a=layer(), b=layer(1))
    check(network, "weight_is_shared", "weight_is_shared")


def test_a_convolution_used_twice_once_without_norm_is_refused() -> None:
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.c(x * 2), c=conv(), a=layer())
    check(network, "weight_is_shared")


def test_a_shared_convolution_always_under_the_same_norm_folds() -> None:
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.a(m.c(x * 2)), c=conv(), a=layer())
    check(network, None)


def test_an_aliased_convolution_is_counted_over_its_names() -> None:
    shared = conv()
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.b(m.d(x)), c=shared, d=shared)
    network.a, network.b = layer(), layer(1)
    check(network, "weight_is_shared", "weight_is_shared")


def test_tied_parameters_of_two_convolutions_are_refused() -> None:
    first, second = conv(), conv()
    second.weight = first.weight
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.d(x), c=first, d=second, a=layer())
    check(network, "weight_is_shared")


def test_tied_convolutions_before_one_layer_are_refused() -> None:
    """All uses of the kernel would be edited alike, but it belongs to two modules."""
    first, second = conv(), conv()
    second.weight, second.bias = first.weight, first.bias
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.a(m.d(2 * x)), c=first, d=second, a=layer())
    check(network, "weight_is_shared")


def test_overlapping_memory_counts_as_shared() -> None:
    both = torch.randn(8, 3, 3, 3, dtype=torch.float64)
    first, second = conv().double(), conv().double()
    first.weight = nn.Parameter(both[:4])
    second.weight = nn.Parameter(both[2:6])
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.d(x), c=first, d=second, a=layer())
    check(network, "weight_is_shared")


def test_disjoint_views_of_one_storage_fold() -> None:
    both = torch.randn(8, 3, 3, 3, dtype=torch.float64)
    first, second = conv().double(), conv().double()
    first.weight, second.weight = nn.Parameter(both[:4]), nn.Parameter(both[4:])
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.d(x), c=first, d=second, a=layer())
    check(network, None)


def test_a_weight_used_in_another_computation_is_refused() -> None:
    network = Lambda(lambda m, x: m.a(m.c(x)) + m.c.weight.sum(), c=conv(), a=layer())
    check(network, "weight_is_shared")


def test_a_functional_convolution_with_module_parameters() -> None:
    network = Lambda(lambda m, x: m.a(F.conv2d(x, m.c.weight, m.c.bias)), c=conv(), a=layer())
    check(network, None)  # the call uses weight and bias of one module, just like its forward


def test_a_functional_convolution_that_ignores_the_module_bias_is_refused() -> None:
    network = Lambda(lambda m, x: m.a(F.conv2d(x, m.c.weight)), c=conv(), a=layer())
    network.c.bias = None
    check(network, "bias_cannot_be_replaced")


class Holder(nn.Module):
    def __init__(self, biased: bool) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.offset = nn.Parameter(torch.randn(4)) if biased else None


@pytest.mark.parametrize(
    ("pair", "biased", "code"),
    [
        (BN_BN, True, None),
        (BN_BN, False, "bias_cannot_be_replaced"),
        (NormalizerPair(IN, IN), False, "bias_cannot_be_replaced"),
        (NormalizerPair(IN, BN), False, None),  # a scale needs no bias
    ],
)
def test_a_functional_convolution_with_parameters_of_any_module(
    pair: NormalizerPair, biased: bool, code: str | None
) -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.a(F.conv2d(x, m.h.kernel, m.h.offset))

    check(Lambda(forward, h=Holder(biased), a=trained_layer(4, pair)), code)


def test_weight_norm_and_parametrizations_are_refused() -> None:
    class Doubled(nn.Module):
        def forward(self, w: Tensor) -> Tensor:
            return 2 * w

    parametrized = conv()
    parametrize.register_parametrization(parametrized, "weight", Doubled())
    check(nn.Sequential(parametrized, layer()), "weight_is_computed")
    check(nn.Sequential(parametrizations.weight_norm(conv()), layer()), "weight_is_computed")
    with pytest.warns(FutureWarning):
        old = weight_norm(conv())
    check(nn.Sequential(old, layer()), "weight_is_computed")


def test_a_parametrized_bias_is_refused() -> None:
    class Shifted(nn.Module):
        def forward(self, b: Tensor) -> Tensor:
            return b + 1

    target = conv()
    parametrize.register_parametrization(target, "bias", Shifted())
    check(nn.Sequential(target, layer()), "bias_cannot_be_replaced")


def test_hooks_on_convolution_or_norm_are_refused_and_kept() -> None:
    seen: list[int] = []
    for index in (0, 1):
        network = nn.Sequential(conv(), layer())
        network[index].register_forward_hook(lambda *_: seen.append(1))
        pruned = check(network, "hooks")
        seen.clear()
        pruned(X)
        assert seen == [1]


def test_a_hook_that_changes_the_value_is_part_of_the_output() -> None:
    network = nn.Sequential(conv(), layer())
    network[1].register_forward_hook(lambda _m, _i, y: 2 * y)
    check(network, "hooks")


def test_something_between_convolution_and_norm_is_named() -> None:
    network = nn.Sequential(conv(), nn.MaxPool2d(2), layer()).double().eval()
    report = prune(network, X).report.layers[0]
    assert report.reason_code == "no_conv_in_front"
    assert "max_pool2d" in str(report.reason)


def test_a_layer_that_is_never_called_is_still_replaced() -> None:
    network = Lambda(lambda m, x: m.c(x), c=conv(), a=layer())
    pruned = check(network, "not_called")
    assert isinstance(pruned.a, nn.BatchNorm2d)


def test_a_network_that_cannot_be_captured_is_replaced_without_folds() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return m.a(m.c(x)) if float(x.sum()) > -1e9 else x

    check(Lambda(forward, c=conv(), a=layer()), "capture_failed")


def test_a_layer_called_at_two_sizes_takes_its_size_from_the_input() -> None:
    shared = trained_layer(3, NormalizerPair(IN, IN), correction=1)
    network = Lambda(lambda m, x: [m.n(x), m.n(x[..., :4, :4])], n=shared)
    check(network, "no_conv_in_front")


def test_a_size_that_was_not_captured_is_refused_instead_of_wrong() -> None:
    network = nn.Sequential(conv(), trained_layer(4, NormalizerPair(IN, IN), correction=1))
    pruned = check(network, None)
    with pytest.raises(ValueError, match="exact for 64 positions only"):
        pruned(X[..., :6, :6])


def test_a_copy_of_the_same_layer_under_two_names_stays_one_module() -> None:
    shared = layer()
    network = Lambda(lambda m, x: m.b(m.d(m.a(m.c(x)))), c=conv(), d=conv(4), a=shared, b=shared)
    pruned = check(network, "weight_is_shared")
    assert pruned.a is pruned.b


def test_pruning_a_pruned_network_finds_nothing_left() -> None:
    from ssn_prune.errors import NoSwitchableLayerError

    pruned = check(nn.Sequential(conv(), layer()), None)
    with pytest.raises(NoSwitchableLayerError):
        prune(copy.deepcopy(pruned), X)
