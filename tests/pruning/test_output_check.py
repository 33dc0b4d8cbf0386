"""Code around the layers that asks what they are: refused, since they are replaced."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from foreign_layers import HabitualSwitch
from torch import Tensor, nn

from ssn_prune import SSN2d, prune
from ssn_prune.errors import UnsupportedLayerError

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


class Asking(nn.Module):
    """Its output is scaled by what ``factor`` makes of the network."""

    def __init__(self, factor: Callable[[Asking], Tensor | float], norm: nn.Module | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3), norm or SSN2d(8)
        self.factor = factor
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) * self.factor(self)


QUESTIONS: dict[str, Callable[[Asking], Tensor | float]] = {
    "class": lambda model: 2.0 if isinstance(model.norm, SSN2d) else 1.0,
    "attribute": lambda model: 2.0 if hasattr(model.norm, "mean_weight") else 1.0,
    "count": lambda model: float(len(list(model.parameters()))),
    "tensor": lambda model: model.norm.mean_weight.sum() + 1,
}


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", QUESTIONS)
def test_code_that_asks_what_a_layer_is_is_refused(name: str, fold: bool) -> None:
    model = Asking(QUESTIONS[name])
    with pytest.raises(UnsupportedLayerError, match="once its switchable layers") as caught:
        prune(model, X, on_unconverged="exact", fold=fold)
    assert caught.value.found
    assert caught.value.hint


def test_a_foreign_layers_gates_may_not_be_read_either() -> None:
    model = Asking(QUESTIONS["tensor"], HabitualSwitch(8))
    with pytest.raises(UnsupportedLayerError, match="once its switchable layers"):
        prune(model, X, on_unconverged="exact")


def test_a_subclass_that_changes_the_call_is_refused() -> None:
    class Doubled(SSN2d):
        def __call__(self, x: Tensor) -> Tensor:
            return 2 * super().__call__(x)

    with pytest.raises(UnsupportedLayerError, match="once its switchable layers"):
        prune(Asking(lambda _: 1.0, Doubled(8)), X, on_unconverged="exact")


@pytest.mark.parametrize("pair", [(0, 0)])
def test_what_float64_itself_loses_is_no_difference(pair: tuple[int, int]) -> None:
    model = Asking(lambda _: 1.0)
    with torch.no_grad():
        model.conv.bias.fill_(1e5)
        model.norm.running_mean.fill_(1e5)
        for gate, choice in zip(("mean", "var"), pair, strict=True):
            getattr(model.norm, f"{gate}_weight").copy_(torch.eye(3)[choice])
            getattr(model.norm, f"{gate}_fixed").fill_(1)
    prune(model, X)


class HalfInside(Asking):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).half()


class Masked(Asking):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.cat([y, torch.full_like(y, float("-inf"))], 1)


@pytest.mark.parametrize("kind", [Asking, HalfInside, Masked])
def test_other_networks_pass(kind: type[Asking]) -> None:
    model = kind(lambda _: 3.0)
    found = prune(model, X, on_unconverged="exact").model(X)
    assert torch.allclose(found, model(X), rtol=1e-3, atol=1e-3)
