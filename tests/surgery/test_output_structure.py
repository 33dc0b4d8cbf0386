"""What a layer or a network gives besides plain tensors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from foreign_layers import HabitualSwitch
from torch import Tensor, nn

from ssn_prune import prune
from ssn_prune.errors import UnsupportedLayerError

ONE_SAMPLE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))


class InATuple(HabitualSwitch):
    def forward(self, x: Tensor) -> tuple[Tensor]:  # type: ignore[override]
        return (super().forward(x),)


class InAList(HabitualSwitch):
    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        return [super().forward(x)]


class TakesTheFirst(nn.Module):
    """What is first is the tensor in a tuple, or else the first sample."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), norm
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))[0].flatten()


@pytest.mark.parametrize("kind", [InATuple, InAList])
def test_a_layer_that_wraps_its_output_is_refused(kind: type[nn.Module]) -> None:
    # With one sample the outputs are equal, number by number.
    with pytest.raises(UnsupportedLayerError, match=rf"norm \({kind.__name__}\)"):
        prune(TakesTheFirst(kind(8)), ONE_SAMPLE, on_unconverged="exact")


def test_the_same_network_with_a_plain_layer_is_pruned() -> None:
    model = TakesTheFirst(HabitualSwitch(8))
    assert prune(model, ONE_SAMPLE, on_unconverged="exact").report.adoption is not None


def test_a_hook_that_wraps_the_output_wraps_that_of_both() -> None:
    model = TakesTheFirst(HabitualSwitch(8))
    model.norm.register_forward_hook(lambda _module, _inputs, output: (output,))
    result = prune(model, ONE_SAMPLE, on_unconverged="exact")
    batch = torch.cat([ONE_SAMPLE, 2 * ONE_SAMPLE])
    with torch.no_grad():
        found, expected = result.model(batch), model.double()(batch.double())
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5


@dataclass
class Answer:
    scores: Tensor
    note: str = ""


class Opaque:
    def __init__(self, scores: Tensor) -> None:
        self.scores = scores


class Wrapping(nn.Module):
    """Gives an object, whose values may depend on the class of the layer or on chance."""

    def __init__(self, kind: type, fault: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), HabitualSwitch(8)
        self.kind, self.fault = kind, fault
        self.eval()

    def forward(self, x: Tensor) -> object:
        y = self.norm(self.conv(x))
        if self.fault == "class" and isinstance(self.norm, HabitualSwitch):
            y = 2 * y
        return self.kind(y * torch.rand(()) if self.fault == "chance" else y)


def test_a_dataclass_is_looked_into() -> None:
    result = prune(Wrapping(Answer), ONE_SAMPLE, on_unconverged="exact")
    assert result.report.adoption is not None
    assert result.report.adoption.own_float32_error


@pytest.mark.parametrize(
    ("fault", "message"), [("class", "gives something else"), ("chance", "no function")]
)
def test_what_is_wrong_in_a_dataclass_is_found(fault: str, message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        prune(Wrapping(Answer, fault), ONE_SAMPLE, on_unconverged="exact")


def test_an_output_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UnsupportedLayerError, match="nothing that can be compared") as caught:
        prune(Wrapping(Opaque), ONE_SAMPLE, on_unconverged="exact")
    assert caught.value.hint
