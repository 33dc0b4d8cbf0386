"""Networks that make float32 tensors themselves are still checked in float64."""

from pathlib import Path

import torch
from networks import BN, IN, Lambda, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import export_onnx, prune, random_batches, verify
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.tensors import WideResults


def shifted(m: nn.Module, x: Tensor) -> Tensor:
    y = m.n(m.c(x))
    steps = torch.linspace(-1, 1, y.shape[2], dtype=torch.float32)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([columns, rows], -1).float().expand(x.shape[0], -1, -1, -1)
    return F.grid_sample(y, 0.9 * grid, align_corners=False)


def test_a_network_with_a_float32_grid_is_verified(tmp_path: Path) -> None:
    layer = trained_layer(4, NormalizerPair(IN, BN))
    network = Lambda(shifted, c=nn.Conv2d(3, 4, 3), n=layer).eval()
    x = torch.randn(2, 3, 8, 8)
    result = prune(network, x)
    export_onnx(result.model, x, tmp_path / "m.onnx")
    checks = verify(result, tmp_path / "m.onnx", random_batches([(3, 8, 8)], (1, 2, 3)))
    assert checks.passed
    assert checks.algebra.output_error > 0


def test_only_float32_is_widened() -> None:
    with WideResults():
        assert torch.zeros(2).dtype is torch.float64
        assert torch.zeros(2).float().dtype is torch.float64
        assert torch.zeros(2, dtype=torch.int32).dtype is torch.int32
        assert torch.zeros(2).half().dtype is torch.float16
    assert torch.zeros(2).dtype is torch.float32
