"""A capture that depends on the sizes of its example says so and refuses other sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import BN, IN, Lambda, relative_error, trained_layer
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.normalizer import NormalizerPair

X = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def network(function) -> nn.Module:
    layer = trained_layer(4, NormalizerPair(BN, BN))
    return Lambda(function, c=nn.Conv2d(3, 4, 3, padding=1), n=layer).double().eval()


def larger(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x)
    return m.n(y) if x.shape[2] > 40 else y


def divisible(m: nn.Module, x: Tensor) -> Tensor:
    y = m.c(x)
    return m.n(y) if x.shape[3] % 32 == 0 else y


def flattened(m: nn.Module, x: Tensor) -> Tensor:
    return m.n(m.c(x)).view(2, -1)


def equal(m: nn.Module, x: Tensor) -> Tensor:
    return m.n(m.c(x)) if x.shape[2] == x.shape[3] else m.c(x)


@pytest.mark.parametrize(
    ("function", "right", "wrong", "reason"),
    [
        (larger, (48, 16), (32, 64), r"x.shape\[2\] > 40"),
        (divisible, (20, 96), (64, 48), r"x.shape\[3\] % 32"),
        (equal, (24, 24), (24, 32), r"x.shape\[3\] == x.shape\[2\]|x.shape\[2\] == x.shape\[3\]"),
    ],
)
def test_sizes_on_the_other_side_of_a_branch_are_refused(function, right, wrong, reason) -> None:
    original = network(function)
    result = prune(original, X)
    assert result.report.layers[0].fold is not None
    assert result.report.size_conditions != ()
    x = torch.randn(3, 3, *right, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(result.model(x), original(x)) < 1e-13
        with pytest.raises(ValueError, match=reason):
            copy.deepcopy(result.model)(torch.randn(3, 3, *wrong, dtype=torch.float64))


def test_a_batch_size_that_became_fixed_is_refused() -> None:
    model = prune(network(flattened), X).model
    with pytest.raises(ValueError, match=r"x.shape\[0\]"):
        model(X[:1])


def test_a_network_without_conditions_takes_any_size() -> None:
    original = network(lambda m, x: m.n(m.c(x)).relu())
    result = prune(original, X)
    assert result.report.size_conditions == ()
    for shape in ((1, 3, 1, 1), (3, 3, 7, 65)):
        x = torch.randn(shape, dtype=torch.float64)
        assert relative_error(result.model(x), original(x)) < 1e-13


def test_a_capture_with_dynamic_sizes_that_takes_too_long_fixes_them(monkeypatch) -> None:
    monkeypatch.setattr("ssn_prune.pruning.capture.capture.DYNAMIC_SIZES_SECONDS", -1.0)
    original = network(lambda m, x: m.n(m.c(x)).relu())
    result = prune(original, X)
    assert result.report.layers[0].fold is not None
    assert result.report.size_conditions == ("x.shape[2] == 64", "x.shape[3] == 64")
    assert relative_error(result.model(X[:1]), original(X[:1])) < 1e-13
    with pytest.raises(ValueError, match=r"x.shape\[2\] == 64"):
        result.model(X[..., :32, :])


def test_without_folds_there_is_nothing_to_refuse() -> None:
    original = network(larger)
    model = prune(original, X, fold=False).model
    x = X[..., :32, :]
    assert relative_error(model(x), original(x)) < 1e-13


@pytest.mark.parametrize("any_size", [False, True])
def test_a_corrected_instance_norm_takes_other_sizes_if_asked_to(any_size: bool) -> None:
    layer = trained_layer(4, NormalizerPair(IN, IN), correction=1)
    original = nn.Sequential(nn.Conv2d(3, 4, 3), layer).double().eval()
    model = prune(original, X, any_size=any_size).model
    x = X[..., :30, :20]
    if not any_size:
        with pytest.raises(ValueError, match="exact for"):
            model(x)
        return
    with torch.no_grad():
        assert relative_error(model(x), original(x)) < 1e-13
