"""Concrete layers compute the same eagerly and exported, and do not ask which of both it is."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from networks import PairNetwork
from torch import nn

from ssn_prune import prune
from ssn_prune.nn import inference
from ssn_prune.nn.inference import GroupNorm


@pytest.mark.parametrize(("batch", "correction"), [(1, 0), (2, 1)])
@pytest.mark.parametrize("follows_conv", [False, True])
def test_exported_layers_give_the_eager_bits(
    batch: int, correction: int, follows_conv: bool
) -> None:
    network = PairNetwork(correction, conv_bias=True, follows_conv=follows_conv).eval()
    x = torch.randn(batch, 3, 106, 105)
    pruned = prune(network, x).model
    shapes = None if batch == 1 else ({0: torch.export.Dim("batch")},)
    program = torch.export.export(pruned, (x,), dynamic_shapes=shapes)
    with torch.no_grad():
        for value, expected in zip(program.module()(x), pruned(x), strict=True):
            assert torch.equal(value, expected)


def test_no_layer_asks_whether_it_is_exported() -> None:
    folder = Path(inspect.getfile(inference)).parent
    sources = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    assert len(sources) >= 6
    assert not any("is_exporting" in source or "is_compiling" in source for source in sources)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_group_norm_in_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = GroupNorm(4, 1e-5).eval()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = (torch.randn(2, 4, 5, 6) * 300).to(dtype)  # whose squares are above 65504
    with torch.no_grad():
        expected = layer.double()(x.double())
        found = layer.to(dtype)(x)
    assert found.dtype == dtype
    unit = torch.finfo(dtype).eps
    assert float((found.double() - expected).abs().max()) <= 2 * unit * float(expected.abs().max())


def test_a_group_norm_trains_with_torchs_kernel() -> None:
    x = torch.randn(2, 4, 5, 6)
    layer, reference = GroupNorm(4, 1e-5).train(), nn.GroupNorm(1, 4)
    assert torch.equal(layer(x), reference(x))
