"""Networks that cannot be captured whole: the parts that can are folded, the rest is replaced."""

from __future__ import annotations

import pytest
import torch
from networks import BN, IN, relative_error, trained_layer
from torch import Tensor, nn
from torch.nn import functional as F

from ssn_prune import prune
from ssn_prune.errors import ArgumentError
from ssn_prune.normalizer import NormalizerPair
from ssn_prune.pruning.capture.capture import capture
from ssn_prune.pruning.prune import PruneResult

BN_BN = NormalizerPair(BN, BN)
X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def block(inputs: int = 3, seed: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, 4, 3, padding=1, bias=False), trained_layer(4, BN_BN, seed), nn.ReLU()
    )


class DataDependent(nn.Module):
    """Stem, then as many rounds of one block as the data asks for, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block()
        self.rounds = nn.ModuleList([block(4, 1)])
        self.conv = nn.Conv2d(4, 4, 1)
        self.norm = trained_layer(4, NormalizerPair(IN, BN))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(1 + int(x.mean() > 0)):
            x = self.rounds[0](x)
        return self.norm(self.conv(x))


def pruned(network: nn.Module) -> PruneResult:
    network = network.double().eval()
    result = prune(network, X)
    with torch.no_grad():
        assert relative_error(result.model(X), network(X)) < 1e-13
    return result


def codes(result: PruneResult) -> list[str | None]:
    return [layer.reason_code for layer in result.report.layers]


def test_the_largest_parts_are_folded_and_the_rest_is_listed() -> None:
    result = pruned(DataDependent())
    assert codes(result) == [None, None, "capture_failed"]
    assert result.report.captured_parts == ("stem", "rounds.0")
    assert "data-dependent" in str(result.report.capture_error)


def test_a_convolution_that_is_also_called_from_outside_of_its_part() -> None:
    class Outside(DataDependent):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.stem[0](x)

    assert codes(pruned(Outside())) == ["weight_is_shared", None, "capture_failed"]


def test_a_weight_that_is_used_outside_of_its_part() -> None:
    class Outside(DataDependent):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + F.conv2d(x, self.stem[0].weight, padding=1)

    assert codes(pruned(Outside())) == ["weight_is_shared", None, "capture_failed"]


def test_a_layer_that_is_also_called_from_outside_of_its_part() -> None:
    class Outside(DataDependent):
        def forward(self, x: Tensor) -> Tensor:
            return self.stem[1](super().forward(x))

    assert codes(pruned(Outside())) == ["capture_failed", None, "capture_failed"]


def test_a_part_that_is_called_at_several_sizes() -> None:
    class Pyramid(DataDependent):
        def forward(self, x: Tensor) -> list[Tensor]:
            y = super().forward(x)
            return [y, self.rounds[0](y[..., :4, :4])]

    network = Pyramid().double().eval()
    captured = capture(network, (X,))
    calls = captured.calls["rounds.0.1"]
    assert {call.positions for call in calls} == {64, 16}
    assert codes(pruned(network)) == [None, None, "capture_failed"]


def test_a_network_that_does_not_run_is_still_replaced() -> None:
    class Broken(DataDependent):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("needs a device that is not here")

    with pytest.raises(ArgumentError, match="cannot run on inputs of size") as caught:
        prune(Broken().double(), X)
    assert "needs a device" in caught.value.found
    result = prune(Broken().double(), X, allow_unverified_layers=True)
    assert result.report.adoption.reason == "code_cannot_run"
    assert codes(result) == ["capture_failed"] * 3
    assert result.report.captured_parts == ()


@pytest.mark.parametrize("grouped", [False, True])
def test_keyword_and_nested_arguments_of_parts(grouped: bool) -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.norm = trained_layer(4, BN_BN)

        def forward(self, maps: dict[str, Tensor], *, factor: float) -> Tensor:
            return factor * self.norm(self.conv(maps["x"]))

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner({"x": x}, factor=2.0)
            return y if bool(y.sum() > 1e9) else y + 1

    assert codes(pruned(Outer())) == [None]
