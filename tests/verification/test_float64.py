"""Runs in float64 stay in float64, whatever the network's code makes, or it is known why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks import BN, IN, Lambda, PairNetwork, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import DeformConv2d

from ssn_prune import export_onnx, prune, random_batches, verify
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.surgery.float64 import float64_arithmetic, float64_copy
from ssn_prune.surgery.nested import tensor_leaves
from ssn_prune.verification.algebra import check_algebra


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
    with float64_arithmetic():
        assert torch.zeros(2).dtype is torch.float64
        assert torch.zeros(2).float().dtype is torch.float64
        assert torch.zeros(2).to(torch.float32).dtype is torch.float64
        assert torch.zeros(2, dtype=torch.int32).dtype is torch.int32
        assert torch.zeros(2).half().dtype is torch.float16
    assert torch.zeros(2).dtype is torch.float32


def test_a_cast_to_float32_does_not_round() -> None:
    x = torch.tensor([1 + 1e-12], dtype=torch.float64)
    with float64_arithmetic():
        assert torch.equal(x.float(), x)
        assert torch.equal(x.to(torch.float32), x)


def test_a_writing_function_may_be_given_names_only() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    with float64_arithmetic():
        nn.init.ones_(tensor=x)
    assert torch.equal(x, torch.ones(3, dtype=torch.float64))


def lstm(m: nn.Module, x: Tensor) -> Tensor:
    return m.net(x.flatten(2).transpose(1, 2))[0]


def attention(m: nn.Module, x: Tensor) -> Tensor:
    sequence = x.flatten(2).transpose(1, 2)
    return m.net(sequence, sequence, sequence)[0]


def deformed(m: nn.Module, x: Tensor) -> Tensor:
    return m.net(x, 0.1 * torch.ones(len(x), 18, 6, 6, dtype=x.dtype))


def by_hand(m: nn.Module, x: Tensor) -> Tensor:
    weight = m.net.weight.data.flatten(1)
    scale = torch.empty(4, dtype=m.net.weight.dtype)
    scale[:] = weight.norm(dim=1)
    return (F.unfold(x, 3).transpose(1, 2) @ weight.T) * scale.reciprocal_()


MODULES: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(3, 4, 3),
    "transposed": lambda: nn.ConvTranspose2d(3, 4, 3),
    "linear": lambda: nn.Linear(8, 4),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    "lstm": lambda: Lambda(lstm, net=nn.LSTM(3, 4, batch_first=True)),
    "attention": lambda: Lambda(attention, net=nn.MultiheadAttention(3, 1, batch_first=True)),
    "deformable": lambda: Lambda(deformed, net=DeformConv2d(3, 4, 3)),
    "by hand": lambda: Lambda(by_hand, net=nn.Conv2d(3, 4, 3)),
    "pairs": lambda: PairNetwork(1, True, True),
}


@pytest.mark.parametrize("name", MODULES)
def test_float64_arithmetic_changes_nothing_in_a_float64_copy(name: str) -> None:
    torch.manual_seed(0)
    network = MODULES[name]().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = tensor_leaves(float64_copy(network)(x.clone()))
        with float64_arithmetic() as precision:
            found = tensor_leaves(float64_copy(network)(x.clone()))
    assert precision.narrow_operator is None
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
    assert found[0].dtype is torch.float64
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


WIDENED: dict[str, Callable[[Tensor], Tensor]] = {
    "a cast": lambda x: x + torch.arange(3).float() / 3,
    "zeros of a dtype": lambda x: x + torch.zeros(3, dtype=torch.float32) + 1 / 3,
    "a number": lambda x: x + torch.tensor(1 / 3),
    "a full tensor": lambda x: x + torch.full((3,), 1 / 3),
    "steps": lambda x: x + torch.linspace(-1, 1, 7)[:3],
    "whole numbers divided": lambda x: x + torch.arange(3) / 3,
    "whole numbers scaled": lambda x: x + torch.arange(3) * 0.1,
    "a root of whole numbers": lambda x: x + torch.arange(3).sqrt(),
    "a constant of its own": lambda x: x + CONSTANT,
    "written into": lambda x: torch.empty(3).copy_(x).mul_(1 / 3),
    "like another": lambda x: x + torch.zeros_like(torch.arange(3), dtype=torch.float32) + 1 / 3,
}
CONSTANT = torch.tensor([0.25, 0.5, 0.75])


@pytest.mark.parametrize("name", WIDENED)
def test_what_a_networks_code_makes_is_float64(name: str) -> None:
    x = torch.tensor([1.0, 1 + 1e-12, 2.0], dtype=torch.float64)
    default = torch.get_default_dtype()
    with float64_arithmetic() as precision:
        found = WIDENED[name](x)
    torch.set_default_dtype(torch.float64)
    try:
        expected = WIDENED[name](x).double()
    finally:
        torch.set_default_dtype(default)
    assert found.dtype is torch.float64
    if "cast" not in name and "dtype" not in name and "another" not in name:
        assert torch.equal(found, expected)
    else:  # outside they are rounded to float32
        assert 0 <= float((found - expected).abs().max()) < 1e-7
        assert float((found[1] - found[0]) * 1e12) != 0
    assert precision.narrow_operator is None


@torch.library.custom_op("ssn_prune_tests::rounded", mutates_args=())
def rounded(x: Tensor) -> Tensor:
    """Code that no mode reaches."""
    return torch.from_numpy(x.numpy().astype("float32"))


NARROW: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "half precision": (lambda x: x.half().double(), "_to_copy"),
    "brain float": (lambda x: x.to(torch.bfloat16).double(), "_to_copy"),
    "compiled code": (lambda x: rounded(x).double(), "rounded"),
    "kept in float32": (lambda x: KEPT.copy_(x), "copy_"),
    "by name": (lambda x: x.type("torch.FloatTensor"), "_to_copy"),
}
KEPT = torch.zeros(3)


@pytest.mark.parametrize("name", NARROW)
def test_an_operator_of_less_precision_is_named(name: str) -> None:
    run, operator = NARROW[name]
    with float64_arithmetic() as precision:
        run(torch.ones(3, dtype=torch.float64))
    assert precision.narrow_operator is not None
    assert operator in precision.narrow_operator


def test_two_folds_into_one_kernel_are_applied_one_after_the_other() -> None:
    """A norm folds forward into the convolution that the next one folds into."""
    first, second = (trained_layer(4, NormalizerPair(BN, BN), seed) for seed in range(2))
    network = nn.Sequential(nn.AvgPool2d(1), nn.Conv2d(4, 4, 3)).eval()
    network = nn.Sequential(first, network[1], second).eval()
    with torch.no_grad():
        first.running_mean.mul_(0.1)
    x = torch.randn(2, 4, 8, 8)
    result = prune(network, x)
    assert [layer.fold is not None for layer in result.plan.layers] == [True, True]
    check = check_algebra(result.original, result.plan, (x,))
    assert check.passed
    assert check.output_error < 1e-14
