"""Helpers for the tests of folds."""

from __future__ import annotations

import torch
from dimension_networks import formula
from networks import BN, Lambda, relative_error
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.prune import PruneResult
from ssn_prune.verification.algebra import check_algebra

BN_BN = NormalizerPair(BN, BN)
X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def conv(inputs: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, 4, 3, **options)


def pruned(network: nn.Module, x: Tensor = X) -> PruneResult:
    """Prune, and require the same outputs at the end and at every exposed layer."""
    network = network.double().eval()
    result = prune(network, x)
    with torch.no_grad():
        assert relative_error(result.model(x), network(x)) < 1e-12
    assert check_algebra(result.original, result.plan, (x,)).passed
    return result


def folds(result: PruneResult) -> list[tuple[str, str] | None]:
    """The code and the target of the fold of each layer."""
    layers = result.plan.layers
    return [None if la.fold is None else (la.fold.code, la.fold.target) for la in layers]


def scale_by_hand(layer: SwitchableNorm) -> Tensor:
    """w / sqrt(running_var + eps), (C,), independent of the package."""
    deviations = [(float(v) + layer.eps) ** 0.5 for v in layer.running_var]
    return layer.weight.detach().double() / torch.tensor(deviations, dtype=torch.float64)


def after_conv(conv: nn.Module, layer: SwitchableNorm, pair: NormalizerPair) -> nn.Module:
    """A convolution and the paper's formula of a layer, to compare with."""
    return Lambda(lambda m, x: formula(m.c(x), m.n, pair), c=conv, n=layer)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual.detach(), expected.detach(), rtol=1e-14, atol=1e-15)
