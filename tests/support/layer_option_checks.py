"""Helpers for the tests of layer options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from dimension_networks import Parallel, formula, randomize_layer
from networks import BN, IN, LN, relative_error
from torch import Tensor, nn

from ssn_prune import export_onnx, random_batches, verify
from ssn_prune.nn.switchable import SwitchableNorm
from ssn_prune.normalizer import ALL_PAIRS, Normalizer, NormalizerPair
from ssn_prune.verification.verify import require_passed

TOLERANCE = 1e-12
SETS = [(IN, LN), (IN, BN), (LN, BN), (IN, LN, BN)]
EVERY_SET = pytest.mark.parametrize("offered", SETS, ids=lambda s: "+".join(n.name for n in s))
BATCHES = random_batches([(3, 5, 4)], (1, 2, 3))


def pairs_of(offered: tuple[Normalizer, ...]) -> list[NormalizerPair]:
    return [pair for pair in ALL_PAIRS if {pair.mean, pair.var} <= set(offered)]


def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        found = model(x)
    return found if isinstance(found, list) else [found]


def assert_equal(pruned: nn.Module, reference: list[Tensor], x: Tensor) -> None:
    found = outputs(pruned, x)
    assert [y.shape for y in found] == [y.shape for y in reference]
    for actual, expected in zip(found, reference, strict=True):
        assert float(expected.abs().max()) > 0.1
        assert relative_error(actual, expected) < TOLERANCE


def formulas(network: Parallel, pairs: list[NormalizerPair], x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [formula(x, *case) for case in zip(network.layers, pairs, strict=True)]


def soft(layer: SwitchableNorm, *logits: float) -> SwitchableNorm:
    with torch.no_grad():
        layer.mean_weight.copy_(torch.tensor(logits))
        layer.var_weight.copy_(torch.tensor(logits).flip(0))
    return randomize_layer(layer)


def exported(result: Any, x: Tensor, path: Path) -> None:
    export_onnx(result.model, x, path)
    require_passed(verify(result, path, BATCHES))


# Any set of normalizers.
