"""float64 runs that widen one operator's tensors at a time equal those of float64 copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from networks import BN, IN, Lambda, PairNetwork, relative_error, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import DeformConv2d

from ssn_prune import export_onnx, prune, random_batches, verify
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.surgery.copying import floating_copy, wide_copy
from ssn_prune.surgery.nested import Computed, WideArithmetic, tensor_leaves
from ssn_prune.verification.algebra import check_algebra
from ssn_prune.verification.precision import Copier, in_float64


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
    with WideArithmetic():
        assert torch.zeros(2).dtype is torch.float64
        assert torch.zeros(2).float().dtype is torch.float64
        assert torch.zeros(2).to(torch.float32).dtype is torch.float64
        assert torch.zeros(2, dtype=torch.int32).dtype is torch.int32
        assert torch.zeros(2).half().dtype is torch.float16
    assert torch.zeros(2).dtype is torch.float32


def test_a_cast_to_float32_does_not_round() -> None:
    x = torch.tensor([1 + 1e-12], dtype=torch.float64)
    with WideArithmetic():
        assert torch.equal(x.float(), x)
        assert torch.equal(x.to(torch.float32), x)


def test_a_writing_function_may_be_given_names_only() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    with WideArithmetic():
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
def test_equal_to_a_float64_copy(name: str) -> None:
    torch.manual_seed(0)
    network = MODULES[name]().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    wide = wide_copy(network)
    with torch.no_grad():
        expected = tensor_leaves(floating_copy(network, torch.float64)(x.clone()))
        with WideArithmetic():
            found = tensor_leaves(wide(x.clone()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
    assert found[0].dtype is torch.float64
    shared = [p for p in wide.parameters() if p.dim() >= 2]
    assert all(p.dtype is torch.float32 for p in shared)
    memory = {p.data_ptr() for p in network.parameters()}
    assert all(p.data_ptr() in memory for p in shared)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("read", [lambda w: w, lambda w: w.data, lambda w: w.mT.mT, torch.clone])
def test_a_placeholder_is_read_as_what_it_stands_for(read: Callable[[Tensor], Tensor]) -> None:
    weight = nn.Parameter(torch.ones(4, 3))
    value = torch.full((4, 3), 2.0, dtype=torch.float64)
    x = torch.ones(2, 3, dtype=torch.float64)
    with torch.no_grad(), WideArithmetic({id(weight): Computed(weight, lambda: value)}):
        assert torch.equal(F.linear(x, read(weight)), x @ value.T)
        assert weight.shape == (4, 3)
        assert weight.dtype is torch.float64
    assert torch.equal(weight, torch.ones(4, 3))


def test_two_folds_into_one_kernel_are_verified() -> None:
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


@dataclass(frozen=True)
class Outcome:
    passed: bool


@pytest.mark.parametrize("first", ["raises", "fails", "passes"])
def test_what_does_not_pass_is_checked_again_on_a_float64_copy(first: str) -> None:
    """Compiled code need not tell torch's function modes what it calls."""
    network = nn.Conv2d(3, 4, 3)
    seen: list[torch.dtype] = []

    def check(copied: Copier) -> Outcome:
        seen.append(copied(network).weight.dtype)
        if len(seen) == 1 and first == "raises":
            raise RuntimeError("expected scalar type Double but found Float")
        return Outcome(len(seen) == 2 or first == "passes")

    assert in_float64(check).passed
    assert seen == [torch.float32, torch.float64][: 1 if first == "passes" else 2]


def test_what_fails_on_both_copies_fails() -> None:
    assert not in_float64(lambda _copied: Outcome(False)).passed

    def check(copied: Copier) -> Outcome:
        raise ValueError(str(copied(nn.Linear(2, 2)).weight.dtype))

    with pytest.raises(ValueError, match="float64"):
        in_float64(check)


def test_a_wide_run_of_a_corrupted_network_differs() -> None:
    network = PairNetwork(1, True, True).eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    wrong = wide_copy(network)
    wrong.convs[0].weight.data = wrong.convs[0].weight.data * (1 + 1e-6)
    with torch.no_grad(), WideArithmetic():
        assert relative_error(wrong(x)[0], wide_copy(network)(x)[0]) > 1e-8
