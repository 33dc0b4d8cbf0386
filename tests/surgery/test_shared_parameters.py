"""What a conversion shares with the caller's network, and what it never writes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import tiny_network
from networks import BN, IN, LN, Lambda, PairNetwork, trained_layer
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.checkpoint.loading import LoadedCheckpoint, Source
from ssn_prune.checkpoint.running_sums import require_averages
from ssn_prune.conversion import convert
from ssn_prune.normalizer import Normalizer, NormalizerPair
from ssn_prune.pruning.channel_statistics import measure_inputs
from ssn_prune.pruning.rewrite import apply_plan
from ssn_prune.surgery._shared_parameters import SharedWriteError, WriteGuard, shared_copy
from ssn_prune.surgery.copying import cast_copy, copy_model
from ssn_prune.surgery.float64 import float64_arithmetic, float64_copy
from ssn_prune.verification.algebra import check_algebra
from ssn_prune.verification.reference_outputs import float32_outputs

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def memory_of(model: nn.Module) -> dict[str, int]:
    return {name: value.data_ptr() for name, value in model.named_parameters()}


def test_a_shared_result_has_its_own_edited_kernels_only() -> None:
    network = PairNetwork(1, True, True).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    result = prune(network, X)
    apart, shared = result.model, apply_plan(result.plan, network)
    for a, b in zip(apart(X), shared(X), strict=True):
        assert torch.equal(a, b)
    mine, theirs = memory_of(network), memory_of(shared)
    for index, layer in enumerate(result.plan.layers):
        key = f"convs.{index}.weight"
        assert (mine[key] == theirs[key]) == (layer.pair.var is not BN), layer.pair
    assert not set(mine.values()) & set(memory_of(apart).values())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_copy_that_shares_parameters_has_parameters_of_its_own() -> None:
    tied = nn.Linear(3, 3)
    network = nn.Sequential(tied, nn.Sequential(tied), nn.BatchNorm1d(3))
    network.kept = [tied.weight]
    copied = shared_copy(network)
    assert copied[0].weight is copied[1][0].weight is copied.kept[0]
    assert copied[0].weight is not tied.weight
    assert copied[0].weight.data_ptr() == tied.weight.data_ptr()
    assert copied[2].running_mean.data_ptr() != network[2].running_mean.data_ptr()
    copied[0].weight.data = torch.zeros(3, 3)
    assert bool(tied.weight.any())


def clamping(m: nn.Module, x: Tensor) -> Tensor:
    m.c.weight.data.clamp_(min=-0.1)  # no version counter sees it
    return m.n(m.c(x))


def replacing(m: nn.Module, x: Tensor) -> Tensor:
    m.c.weight.data = m.c.weight.data.clamp(min=0)
    return m.n(m.c(x))


@pytest.mark.parametrize("pair", [(IN, LN), (BN, BN), (IN, BN)])
@pytest.mark.parametrize("forward", [clamping, replacing])
def test_a_network_that_writes_to_its_parameters_runs_on_copies(
    forward: Callable[[nn.Module, Tensor], Tensor], pair: tuple[Normalizer, Normalizer]
) -> None:
    layer = trained_layer(4, NormalizerPair(*pair))
    network = Lambda(forward, c=nn.Conv2d(3, 4, 3), n=layer).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    result = prune(network, X)
    assert result.report.adoption.changed_buffers == ("c.weight",)
    check_algebra(result.original, result.plan, (X,))
    float32_outputs(result.original, [(X,)])
    require_averages(network, (X,))
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_a_write_is_refused_before_it_happens() -> None:
    network = nn.Embedding(5, 3, max_norm=0.1)
    before = network.weight.detach().clone()
    with pytest.raises(SharedWriteError), WriteGuard(network):
        network(torch.tensor([1, 2]))
    assert torch.equal(network.weight, before)
    with WriteGuard(network), torch.no_grad():
        assert (network.weight + 1).add_(1).shape == (5, 3)  # other memory may be written to


class Marked(nn.Parameter):
    """A class of its own, which the code may ask for."""


def test_parameters_of_another_class_keep_it() -> None:
    network = nn.Linear(2, 2)
    network.weight = Marked(torch.randn(2, 2))
    copied = shared_copy(network)
    assert type(copied.weight) is Marked
    assert copied.weight.data_ptr() != network.weight.data_ptr()
    assert type(float64_copy(network).weight) is Marked


def test_complex_parameters_keep_their_imaginary_part() -> None:
    network = nn.Module()
    network.w = nn.Parameter(torch.randn(3, 3, dtype=torch.complex64))
    for copied, dtype in (
        (float64_copy(network), torch.complex128),
        (cast_copy(copy_model(network), torch.float32), torch.complex64),
        (cast_copy(shared_copy(network), torch.float32), torch.complex64),
    ):
        assert copied.w.dtype is dtype
        assert torch.equal(copied.w.to(torch.complex64), network.w)
    with float64_arithmetic():
        assert (network.w * 2).dtype is torch.complex128


def test_layers_that_are_given_nothing_have_no_moments() -> None:
    layer = trained_layer(3, NormalizerPair(IN, BN))
    network = Lambda(lambda m, x: (m.n(x[:0]), x)[1], n=layer).eval()
    assert measure_inputs(network, (X,), ["n"]) == {}


def test_giving_a_parameter_other_memory_does_not_reach_the_caller() -> None:
    layer = trained_layer(4, NormalizerPair(IN, LN))
    network = Lambda(replacing, c=nn.Conv2d(3, 4, 3), n=layer).eval()
    before = network.c.weight.detach().clone()
    prune(network, X)
    assert torch.equal(network.c.weight, before)


def test_convert_shares_and_still_leaves_the_loaded_network_alone(tmp_path: Path) -> None:
    network = tiny_network().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    source = Source("c.pth", "0", "zip", None, (), "", 0, "tiny", {}, {})
    report = convert(LoadedCheckpoint(network, (1, 8, 8), source), tmp_path / "m.onnx")
    assert report.verification.passed
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
